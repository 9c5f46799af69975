"""Damaged files at every loader that needs no host: each is named, with what is wrong and what to do about it."""

import json
import time
import tracemalloc
from functools import partial

import core_toys as toys
import pytest
import torch
from safetensors.torch import save_file

from demo import judge, skyline
from demo.export import WEIGHTS
from demo.light_decoder import load_light_decoder
from demo.light_encoder import load_light_encoder
from demo.pipeline import load_demo
from syncdiffusion_core.guidance.spectrum import Spectrum, load_spectrum, save_spectrum
from syncdiffusion_core.perceptual.files import check_perceptual, load_perceptual, save_perceptual
from syncdiffusion_core.perceptual.lpips_net import LpipsNet, Trunk
from syncdiffusion_core.perceptual.scene_net import SceneNet
from syncdiffusion_core.perceptual.style import StyleNet
from syncdiffusion_core.weights import open_weights, write_weights

pytestmark = pytest.mark.filterwarnings("ignore:.*'(pretrained|weights)':UserWarning:torchvision")
LOADERS = {
    "scene": load_perceptual,
    "style": load_perceptual,
    "squeeze": load_perceptual,
    "squeeze without metadata": load_perceptual,
    "spectrum": load_spectrum,
    "light decoder": load_light_decoder,
    "light encoder": load_light_encoder,
    "demo model": load_demo,
}
SHIPPED = {
    "scene": "scene_perceptual",
    "light decoder": "light_decoder",
    "light encoder": "light_encoder",
    "demo model": "demo_model",
}
SLOW = ("demo model",)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Bytes of a whole file for each loader."""
    folder = tmp_path_factory.mktemp("good")
    files = {kind: WEIGHTS / f"{name}.safetensors" for kind, name in SHIPPED.items()}
    for kind in LOADERS:
        files.setdefault(kind, folder / f"{kind}.safetensors")
    save_perceptual(files["style"], "vgg19-style", toys.fill(StyleNet()).state_dict(), 5000.0)
    squeeze = toys.fill(LpipsNet(Trunk.SQUEEZE).net).state_dict()
    save_perceptual(files["squeeze"], "squeeze", squeeze, 1.0)
    save_file({name: tensor.clone() for name, tensor in squeeze.items()}, files["squeeze without metadata"])
    save_spectrum(files["spectrum"], Spectrum((1.0, 2.0), (0.01, 0.02), 5))
    return {kind: path.read_bytes() for kind, path in files.items()}


def said(load, path) -> str | None:
    """The words of the ValueError, None for a result; any other error goes on."""
    try:
        load(path)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", LOADERS)
def test_every_kind_of_damage_is_named_with_a_remedy(kind, good, damage, tmp_path):
    for what, put in damage.kinds(good[kind]).items():
        path = tmp_path / f"{what}.safetensors"
        put(path)
        words = said(LOADERS[kind], path)
        assert words is not None, what
        assert words.startswith(path.name + ": "), words
        assert any(remedy in words for remedy in ("install the pack again", "delete it", "measure it again")), words
        assert len(words) < 800, what


@pytest.mark.parametrize("kind", LOADERS)
def test_damage_at_random_is_a_result_or_named(kind, good, damage, tmp_path):
    path = tmp_path / "random.safetensors"
    refused = 0
    for seed in range(24 if kind in SLOW else 120):
        path.write_bytes(damage.at_random(good[kind], seed))
        words = said(LOADERS[kind], path)
        assert words is None or words.startswith("random.safetensors: "), (seed, words)
        refused += words is not None
    assert refused > 15


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a pointer", "git lfs pull"),
        ("empty", "it is empty"),
        ("a folder", "it is a folder"),
        ("nothing", "it is missing"),
        ("with NaN", "holds NaN"),
        ("whole numbers", "is of type I16"),
        ("another shape", "do not fit"),
        ("another name", "is missing"),
    ],
)
def test_what_is_wrong_is_said(what, words, good, damage, tmp_path):
    path = tmp_path / "demo_model.safetensors"
    damage.kinds(good["demo model"])[what](path)
    assert words in said(load_demo, path)
    assert said(load_demo, path).endswith("demo/weights folder: install the pack again")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unet_config", None),
        ("unet_config", "{"),
        ("unet_config", '{"model_channels": 10000000}'),
        ("text_config", '{"vocabulary_size": 50, "width": 128, "layers": 2, "heads": 2, "length": 16}'),
        ("vocab", "[]"),
        ("latent_rgb_factors", "[[1, 2, 3]]"),
        ("latent_rgb_factors_bias", '[0, NaN, "x"]'),
        ("prediction", "w"),
    ],
)
def test_metadata_of_another_demo_model_is_refused(name, value, good, damage, tmp_path):
    """Heads of another number fit the weights, and would give other pictures without a word."""
    path = tmp_path / "demo.safetensors"
    path.write_bytes(damage.with_metadata(good["demo model"], **{name: value}))
    assert f"'{name}' of its metadata" in said(load_demo, path) or "its metadata has no" in said(load_demo, path)


@pytest.mark.parametrize(("module", "load"), [(judge, "load_judge"), (skyline, "load_detector")])
def test_the_files_of_tests_and_benchmarks_too(module, load, monkeypatch, tmp_path):
    for name, value in (("WEIGHTS", tmp_path), ("FILE", tmp_path / "skyline_detector.safetensors")):
        monkeypatch.setattr(module, name, value, raising=False)
    assert "it is missing" in said(lambda _: getattr(module, load)(), None)


CONSTANTS = [
    "nan",
    "inf",
    "-inf",
    "-1.0",
    "0",
    "0.0",
    "1e300",
    "-0.0",
    "1e-30",
    "1e400",
    "",
    "one",
    "1 2",
    "[1]",
    "9" * 5000,
]


@pytest.mark.parametrize("kind", ["scene", "style", "squeeze"])
@pytest.mark.parametrize("constant", CONSTANTS, ids=lambda constant: constant[:8] or "empty")
def test_constants_that_would_spoil_every_panorama_are_refused(kind, constant, good, damage, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(damage.with_metadata(good[kind], constant=constant))
    for load in (load_perceptual, check_perceptual):
        assert "net.safetensors: 'constant' of its metadata must be a number from 1e-09 to 1e+09" in said(load, path)


CONFIGS = [
    {"depth": 10_000_000},
    {"depth": -1},
    {"depth": True},
    {"depth": 1.0},
    {"depth": None},
    {"depth": 10**3000},
    {"widths": [60_000, 60_000]},
    {"widths": [32] * 1_000_000},
    {"widths": []},
    {"widths": [0]},
    {"widths": [-8]},
    {"widths": "32"},
    {"widths": {"32": 1}},
    {"widths": 32},
    {"widths": [[32]]},
    {"widths": ["32"]},
    {"first_stride": 0},
    {"first_stride": 10**9},
    {"first_stride": [2]},
    {"another": 1},
]
TEXTS = ["", "null", "[]", "7", '"x"', "{", "NaN", "[" * 100_000, '{"depth": ' + "9" * 5000 + "}", '{"widths": [NaN]}']


@pytest.mark.parametrize("config", [*map(json.dumps, CONFIGS), *TEXTS], ids=lambda text: text[:24] or "empty")
def test_configurations_without_bounds_cost_neither_time_nor_memory(config, good, damage, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(damage.with_metadata(good["scene"], config=config))
    for load in (load_perceptual, check_perceptual):
        tracemalloc.start()
        started = time.perf_counter()
        words = said(load, path)
        seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert words.startswith("net.safetensors: ")
        assert len(words) < 800
        assert seconds < 2  # a busy machine's; some milliseconds on a free one
        assert peak < 50e6


def test_a_network_within_bounds_that_the_file_does_not_hold_takes_no_memory(good, damage, tmp_path):
    """Eight stages of 2048 channels would be a gigabyte each; the header says that they are not there."""
    path = tmp_path / "net.safetensors"
    config = {"widths": [2048] * 8, "depth": 16, "first_stride": 16}
    path.write_bytes(damage.with_metadata(good["scene"], config=json.dumps(config)))
    started = time.perf_counter()
    for load in (load_perceptual, check_perceptual):
        assert "do not fit a 'scene' network" in said(load, path)
    assert time.perf_counter() - started < 5


def scene(**changes):
    """(weights, config) of a small scene net with some weights exchanged."""
    network = toys.fill(SceneNet((8, 8)))
    return {**network.state_dict(), **changes}, network.config


@pytest.mark.parametrize(
    "changes",
    [
        {"lin_0": torch.full((8,), -1.0)},
        {"lin_0": torch.zeros(8), "lin_1": torch.zeros(8)},
        {"stages.0.enter.weight": torch.zeros(8, 3, 3, 3), "stages.0.enter.bias": torch.zeros(8)}
        | {f"stages.{k}.deepen.0.{name}": torch.zeros(8) for k in (0, 1) for name in ("bias",)}
        | {"stages.1.enter.bias": torch.zeros(8)},
        {"stages.0.enter.weight": torch.full((8, 3, 3, 3), 3e38)},
        {"stages.1.enter.weight": torch.full((8, 8, 3, 3), 1e300, dtype=torch.float64)},
    ],
    ids=["negative", "nothing weighs", "zeros", "overflow", "no float32"],
)
def test_weights_that_compare_nothing_are_refused(changes, tmp_path):
    path = tmp_path / "net.safetensors"
    weights, config = scene(**changes)
    save_perceptual(path, "scene", weights, 1.0, config)
    words = said(load_perceptual, path)
    assert words is not None
    assert "its weights are damaged" in words or "holds NaN or infinite" in words


@pytest.mark.parametrize("trunk", [Trunk.VGG, Trunk.ALEX])
def test_lpips_that_does_not_fit_is_told_before_torchvision_fills_a_network(trunk, tmp_path):
    """VGG16 with random weights is 550 MB and seconds."""
    LpipsNet(Trunk.SQUEEZE)  # imports
    path = tmp_path / "net.safetensors"
    save_perceptual(path, trunk.value, {"net.slice1.0.weight": torch.zeros(64, 3, 3, 3)}, 1.0)
    started = time.perf_counter()
    assert f"do not fit a '{trunk.value}' network" in said(load_perceptual, path)
    assert time.perf_counter() - started < 1


SPECTRA = {
    "rank 0": {"scale": torch.tensor(1.0), "bend": torch.tensor(1.0)},
    "rank 2": {"scale": torch.ones(2, 2), "bend": torch.ones(2, 2)},
    "empty": {"scale": torch.ones(0), "bend": torch.ones(0)},
    "two lengths": {"scale": torch.ones(2), "bend": torch.ones(3)},
    "NaN": {"scale": torch.tensor([1.0, float("nan")]), "bend": torch.ones(2)},
    "infinite": {"scale": torch.ones(2), "bend": torch.tensor([1.0, float("inf")])},
    "negative": {"scale": torch.tensor([1.0, -1.0]), "bend": torch.ones(2)},
    "zero": {"scale": torch.ones(2), "bend": torch.zeros(2)},
    "whole numbers": {"scale": torch.ones(2, dtype=torch.int64), "bend": torch.ones(2, dtype=torch.int64)},
    "complex": {"scale": torch.ones(2, dtype=torch.complex64), "bend": torch.ones(2)},
    "tiny": {"scale": torch.ones(2), "bend": torch.full((2,), 1e-200, dtype=torch.float64)},
    "huge": {"scale": torch.full((2,), 1e200, dtype=torch.float64), "bend": torch.ones(2)},
    "a million channels": {"scale": torch.ones(10**6), "bend": torch.ones(10**6)},
    "no bend": {"scale": torch.ones(2)},
    "more": {"scale": torch.ones(2), "bend": torch.ones(2), "other": torch.ones(2)},
}


@pytest.mark.parametrize("kind", SPECTRA)
def test_spectra_that_are_none(kind, tmp_path):
    path = tmp_path / "own.safetensors"
    save_file(SPECTRA[kind], path, metadata={"format": "syncdiffusion-spectrum", "windows": "3"})
    words = said(load_spectrum, path)
    assert words.startswith("own.safetensors: ")
    assert words.endswith("measure it again")


@pytest.mark.parametrize("count", ["many", "", "-1", "nan", "1e30", "9" * 5000])
def test_a_count_of_windows_that_is_no_number(count, good, damage, tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(damage.with_metadata(good["spectrum"], windows=count))
    assert "own.safetensors: 'windows' of its metadata must be a number" in said(load_spectrum, path)


def test_what_was_read_outlives_the_file(tmp_path):
    """Nothing of a network is mapped from a file that another process may cut: that would end the host."""
    path = tmp_path / "net.safetensors"
    save_perceptual(path, "scene", *scene()[:1], 1.0, scene()[1])
    network = load_perceptual(path)
    path.write_bytes(b"")
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    write_weights(path, {"a": torch.ones(2)}, {"say": "first"})
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        monkeypatch.setattr("os.fsync", partial(_raise, error))
        with pytest.raises(type(error)):
            write_weights(path, {"a": torch.zeros(2)}, {"say": "second"})
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]
    assert open_weights(path, "file", "try again").metadata == {"say": "first"}


def _raise(error, *args):
    raise error
