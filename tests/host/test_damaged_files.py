"""Damaged files at the loaders that need the host: each is named, with a remedy, before the run where that is cheap."""

import shutil
import sys

import folder_paths
import pytest
import torch
from comfy.latent_formats import SD15, Wan21
from comfy.taesd.taehv import TAEHV
from comfy.taesd.taesd import TAESD
from safetensors.torch import save_file
from small_models import randomise

from demo.export import WEIGHTS

RANDOM = 16


def said(call) -> str | None:
    """The words of the ValueError, None for a result; any other error goes on."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


COPIED = {
    "FILE": "demo_model",
    "CONTROL_FILE": "horizon_control",
    "AROUND_FILE": "around",
    "LIGHT_FILE": "light_decoder",
}
OF_OBJECTS = {"OBJECTS_FILE": "objects", "DEPTH_FILE": "depth_control"}
LOADED = {"FILE": "", "CONTROL_FILE": "", "AROUND_FILE": "Around", "OBJECTS_FILE": "Objects", "DEPTH_FILE": "Objects"}
"""The files, and the node that reads them."""


@pytest.fixture
def demo_files(module_of, monkeypatch, tmp_path, random_objects):
    """The loader's module, with copies of the pack's files to damage."""
    module = module_of("host.files.demo_model")
    for folder, files in ((WEIGHTS, COPIED), (random_objects, OF_OBJECTS)):
        for name, file in files.items():
            shutil.copy(folder / f"{file}.safetensors", tmp_path)
            monkeypatch.setattr(module, name, tmp_path / f"{file}.safetensors")
    return module


def put_anew(put, path):
    """Damage a file, whatever stood in its place."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    put(path)


@pytest.mark.parametrize("name", LOADED)
def test_a_broken_clone_is_named(name, demo_files, damage, run_node):
    path = getattr(demo_files, name)
    for what, put in damage.kinds(path.read_bytes()).items():
        put_anew(put, path)
        words = said(lambda: run_node(f"SyncDiffusionLoadDemoModel{LOADED[name]}"))
        assert words is not None, what
        assert words.startswith(path.name), words
        assert words.endswith("install the pack again"), words


@pytest.mark.parametrize("name", LOADED)
def test_damage_at_random_is_a_result_or_named(name, demo_files, damage, run_node):
    path = getattr(demo_files, name)
    good = path.read_bytes()
    for seed in range(RANDOM):
        path.write_bytes(damage.at_random(good, seed))
        words = said(lambda: run_node(f"SyncDiffusionLoadDemoModel{LOADED[name]}"))
        assert words is None or words.startswith(path.name), (seed, words)


class Model:
    """What a decoder asks of a model."""

    def __init__(self, latent_format):
        self.latent_format = latent_format


def light(module_of, latent_format):
    looks = module_of("host.gradient.decoder")
    return looks.make_decoder(looks.Look.LIGHT, None, Model(latent_format))


def test_a_damaged_light_decoder_of_the_demo_is_named(demo_files, damage, module_of, run_node):
    latent_format = run_node("SyncDiffusionLoadDemoModel")[0].model.latent_format
    path = demo_files.LIGHT_FILE
    good = path.read_bytes()
    for what, put in damage.kinds(good).items():
        put_anew(put, path)
        words = said(lambda: light(module_of, latent_format))
        assert words is not None, what
        assert words.startswith("light_decoder.safetensors: "), words
        assert words.endswith("install the pack again"), words


@pytest.fixture(params=["image", "video"])
def family(request):
    """(latent format, name of its light decoder, the decoder's state dict)."""
    with torch.inference_mode():
        network = TAESD(latent_channels=4) if request.param == "image" else TAEHV(latent_channels=16)
        randomise(network, 31)
    if request.param == "image":
        return SD15(), "taesd_decoder", network.taesd_decoder.state_dict()
    return Wan21(), "lighttaew2_1", network.state_dict()


def expect_named(words, path, what):
    assert words is not None, what
    assert words.startswith(path.name + ": "), words
    assert "models/vae_approx" in words, words
    assert "choose 'full decoder' or, for guidance, 'pooled latent'" in words, words


def test_a_damaged_taesd_file_is_named(family, approx, damage, module_of):
    latent_format, name, weights = family
    path = approx / f"{name}.safetensors"
    save_file({k: v.clone().contiguous() for k, v in weights.items()}, path)
    good = path.read_bytes()
    assert said(lambda: light(module_of, latent_format)) is None
    for what, put in damage.kinds(good).items():
        if what in ("a folder", "nothing"):  # the host's list holds files only
            continue
        put_anew(put, path)
        expect_named(said(lambda: light(module_of, latent_format)), path, what)
    for seed in range(RANDOM):
        path.write_bytes(damage.at_random(good, seed))
        words = said(lambda: light(module_of, latent_format))
        assert words is None or words.startswith(path.name + ": "), (seed, words)


def test_a_damaged_pickled_taesd_file_is_named(family, approx, module_of):
    latent_format, name, weights = family
    path = approx / f"{name}.pth"
    torch.save(weights, path)
    good = path.read_bytes()
    assert said(lambda: light(module_of, latent_format)) is None
    spoilt = {name: torch.full_like(weight, torch.nan) for name, weight in weights.items()}
    others = {"a list": [1, 2], "a number": 3, "a module": {"a": "b"}, "a tensor": torch.ones(2), "NaN": spoilt}
    for what, content in others.items():
        torch.save(content, path)
        expect_named(said(lambda: light(module_of, latent_format)), path, what)
    broken = {"empty": b"", "cut": good[:1000], "text": b"hello", "cut late": good[:-100], "zeros": bytes(2000)}
    for what, content in broken.items():
        path.write_bytes(content)
        expect_named(said(lambda: light(module_of, latent_format)), path, what)


@pytest.fixture
def perceptual_folder(host, pack, tmp_path, monkeypatch):
    """An empty models/perceptual."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "perceptual", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def graph(name: str) -> dict:
    """A prompt whose one output needs the network of a choice."""
    return {
        "1": {"class_type": "SyncDiffusionLoadPerceptualModel", "inputs": {"perceptual_name": name}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "3": {"class_type": "SyncDiffusionCoherence", "inputs": {"perceptual_model": ["1", 0], "image": ["2", 0]}},
    }


def before_the_run(host, name) -> str | None:
    """What the host says of a choice when it is queued, None where it would run."""
    cls = host.mappings["SyncDiffusionLoadPerceptualModel"]
    answer = cls.validate_inputs(perceptual_name=name)
    return None if answer is True else answer


def test_a_damaged_network_is_told_before_the_run(host, perceptual_folder, damage, run_node):
    good = (WEIGHTS / "scene_perceptual.safetensors").read_bytes()
    path = perceptual_folder / "own.safetensors"
    late = ("with NaN",)  # its weights are not read before the run
    for what, put in damage.kinds(good).items():
        put_anew(put, path)
        folder_paths.filename_list_cache.clear()
        words = before_the_run(host, "own.safetensors")
        if what not in late:
            assert words is not None, what
            assert "own.safetensors" in words, words
        ran = said(lambda: run_node("SyncDiffusionLoadPerceptualModel", perceptual_name="own.safetensors"))
        assert "own.safetensors" in ran, what
    put_anew(lambda path: path.write_bytes(good), path)
    folder_paths.filename_list_cache.clear()
    assert before_the_run(host, "own.safetensors") is None


@pytest.mark.parametrize(
    "name", ["gone.safetensors", "../own.safetensors", "/etc/passwd", "", "spectra/x.safetensors", 3]
)
def test_names_that_are_not_offered_are_told_before_the_run(host, perceptual_folder, name):
    assert "is not in models/perceptual any more" in before_the_run(host, name)


def test_what_is_whole_or_not_yet_fetched_runs(host, perceptual_folder, module_of):
    files = module_of("host.files.perceptual_files")
    for name in (files.BUILT_IN, files.BUILT_IN_STYLE, *files.DOWNLOADS, None):
        assert before_the_run(host, name) is None


def test_the_host_says_it_where_the_prompt_is_queued(host, perceptual_folder):
    (perceptual_folder / "own.safetensors").write_bytes(b"")
    failed = sys.modules[type(host).__module__].GraphFailed
    inputs = host.mappings["SyncDiffusionCoherence"].INPUT_TYPES()["required"]
    prompt = graph("own.safetensors")
    prompt["3"]["inputs"] |= {n: s[1]["default"] for n, s in inputs.items() if len(s) > 1 and "default" in s[1]}
    with pytest.raises(failed) as caught:
        host.validate(prompt)
    assert "own.safetensors: not a readable safetensors file (it is empty)" in str(caught.value.errors)


def test_another_file_of_the_same_name_is_loaded_anew(host, perceptual_folder):
    state = host.mappings["SyncDiffusionLoadPerceptualModel"].fingerprint_inputs
    path = perceptual_folder / "own.safetensors"
    shutil.copy(WEIGHTS / "scene_perceptual.safetensors", path)
    first = state(perceptual_name="own.safetensors")
    assert state(perceptual_name="own.safetensors") == first
    shutil.copy(WEIGHTS / "judge.safetensors", path)
    assert state(perceptual_name="own.safetensors") != first


def test_the_built_in_network_is_mended_by_installing_the_pack(module_of, monkeypatch, tmp_path, run_node):
    files = module_of("host.files.perceptual_files")
    monkeypatch.setattr(files, "BUILT_IN_FILE", tmp_path / "scene_perceptual.safetensors")
    files.BUILT_IN_FILE.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for name in (files.BUILT_IN, files.BUILT_IN_STYLE):
        words = said(lambda name=name: run_node("SyncDiffusionLoadPerceptualModel", perceptual_name=name))
        assert words.startswith("scene_perceptual.safetensors: ")
        assert "git lfs pull" in words
        assert words.endswith("install the pack again")


def test_a_damaged_spectrum_is_named(perceptual_folder, damage, run_node, module_of):
    spectra = perceptual_folder / "spectra"
    spectra.mkdir()
    path = spectra / "own.safetensors"
    tensors = {"scale": torch.ones(4, dtype=torch.float64), "bend": torch.ones(4, dtype=torch.float64)}
    save_file(tensors, path, metadata={"format": "syncdiffusion-spectrum", "windows": "3"})
    good = path.read_bytes()
    for what, put in damage.kinds(good).items():
        put_anew(put, path)
        words = said(lambda: run_node("SyncDiffusionLatentSpectrum", name="own"))
        assert words is not None, what
        assert "own" in words, words
    for seed in range(60):
        put_anew(lambda path, seed=seed: path.write_bytes(damage.at_random(good, seed)), path)
        words = said(lambda: run_node("SyncDiffusionLatentSpectrum", name="own"))
        assert words is None or words.startswith("own.safetensors: "), (seed, words)


@pytest.mark.parametrize("name", ["x" * 300, "é" * 150, "a\0b", "a\nb", "..", ".", "a/b", "\ud800"])
def test_names_that_no_file_can_have(name, run_node):
    assert "cannot be the name of a file" in said(lambda: run_node("SyncDiffusionLatentSpectrum", name=name))


def test_a_folder_that_takes_no_spectrum_is_said(perceptual_folder, module_of):
    spectra = module_of("host.files.spectra")
    (perceptual_folder / "spectra").write_bytes(b"a file where the folder should be")
    words = said(lambda: spectra.keep_spectrum("own", spectra.Spectrum((1.0,), (1.0,), 1)))
    assert words.startswith("name: 'own' could not be written into ")
