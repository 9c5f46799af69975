"""Fixtures of the host tests: small models, windows, guidance."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def models(small) -> dict[str, object]:
    """A small random model of each noise family."""
    from comfy.model_base import ModelType

    kinds = {"eps": ModelType.EPS, "v": ModelType.V_PREDICTION, "flow": ModelType.FLOW}
    return {name: small.unet_model(kind) for name, kind in kinds.items()}


@pytest.fixture(scope="session")
def random_objects(tmp_path_factory) -> Path:
    """A folder with files such as training the model of objects writes, with random changes."""
    from safetensors.torch import save_file

    from demo.export import half
    from demo.low_rank import tensors_of
    from demo.objects import CONTROL_FILE, OBJECTS
    from demo.pipeline import load_demo
    from demo.train_objects import started

    torch.manual_seed(0)
    folder, networks = tmp_path_factory.mktemp("objects"), started(load_demo()).cpu()
    with torch.no_grad():
        for name, weight in networks.named_parameters():
            if name.endswith(".0.up") or ".zero_convs." in name or ".middle_block_out." in name:
                weight.normal_(0, 0.02)
    save_file(tensors_of(networks), folder / OBJECTS.file.name)
    save_file(half(networks["control"]), folder / CONTROL_FILE.name)
    return folder


@pytest.fixture
def module_of(pack) -> Callable[[str], object]:
    """module_of("host.gradient.gradients") -> that module of the pack, as ComfyUI has loaded it."""
    package = pack["SyncDiffusionWindowTiler"].__module__.rsplit(".", 1)[0]
    return lambda name: sys.modules[f"{package}.{name}"]


@pytest.fixture(scope="session")
def vae(small) -> object:
    """A small random VAE."""
    return small.small_vae()


@pytest.fixture
def living_models(host) -> None:
    """The host walks its list of loaded models to encode a hint; it cannot bear models that died with their test."""
    import comfy.model_management

    loaded = comfy.model_management.current_loaded_models
    loaded[:] = [entry for entry in loaded if entry.model is not None]


@pytest.fixture
def windows(run_node) -> Callable[..., object]:
    """windows(width, stride, **tiler inputs) -> WINDOWS of that width, 64 px high."""

    def make(width: int, stride: int, height: int = 64, **inputs: object) -> object:
        tiler = run_node(
            "SyncDiffusionWindowTiler",
            **{"window_width": width, "window_height": height, "stride_x": stride, "stride_y": height},
            **{"blend": "uniform", **inputs},  # the plain mean, as the tests' oracles make it
        )
        return tiler[0]

    return make


@pytest.fixture
def panorama(run_node, small) -> Callable[..., tuple]:
    """panorama(model, windows, **inputs) -> (latent, trace) of the Panorama Sampler with small defaults."""

    def run(model: object, layout: object, **inputs: object) -> tuple:
        settings = {
            "seed": 3,
            "steps": 8,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": small.conditioning(1),
            "negative": small.conditioning(2),
            "latent_image": small.empty_latent(192, 64),
        }
        return run_node("SyncDiffusionPanoramaSampler", model=model, windows=layout, **{**settings, **inputs})

    return run


@pytest.fixture
def ksampler(run_node, small) -> Callable[..., torch.Tensor]:
    """ksampler(model, **inputs) -> samples of the host's own KSampler with the same small defaults."""

    def run(model: object, **inputs: object) -> torch.Tensor:
        settings = {
            "seed": 3,
            "steps": 8,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": small.conditioning(1),
            "negative": small.conditioning(2),
            "latent_image": small.empty_latent(192, 64),
            "denoise": 1.0,
        }
        return run_node("KSampler", model=model, **{**settings, **inputs})[0]["samples"]

    return run


@pytest.fixture
def guidance(run_node, vae, perceptual) -> Callable[..., object]:
    """guidance(**inputs) -> SYNC_GUIDANCE on the small VAE and the random perceptual network."""

    def make(**inputs: object) -> object:
        return run_node("SyncDiffusionGuidance", vae=vae, perceptual_model=perceptual, **inputs)[0]

    return make


@pytest.fixture(scope="session")
def built() -> dict[str, tuple]:
    """The small model and VAE of each family that a test has asked for: made once."""
    return {}


@pytest.fixture
def of(built, run_node, perceptual, windows) -> Callable[[str], object]:
    """of(family name) -> that family's Bench; its windows are 64 px wide and overlap by half."""
    import small_families

    def make(name: str) -> object:
        family = small_families.FAMILIES[name]
        if name not in built:
            built[name] = family.make(), family.make_vae()
        return small_families.Bench(family, built[name], run_node, perceptual, windows(64, 32))

    return make


@pytest.fixture
def alone(oracle) -> Callable[..., torch.Tensor]:
    """alone(model, conds of a window, wrap, **picture) -> latent of the windows alone, by the oracle."""

    def run(model: object, conds: Callable, wrap: bool = False, **picture: object) -> torch.Tensor:
        return oracle.sample_alone(model, conds, oracle.lefts(wrap), **picture)

    return run


@pytest.fixture
def windowed(panorama, windows, run_node, ksampler, small, oracle) -> Callable[..., torch.Tensor]:
    """windowed(how, model, positive, negative, …) -> latent by one of the pack's three ways to sample."""

    def run(
        how: str,
        model: object,
        positive: list,
        negative: list,
        per_batch: int = 0,
        wrap: bool = False,
        latent: dict | None = None,
        denoise: float = 1.0,
    ) -> torch.Tensor:
        layout = windows(8 * oracle.WINDOW, 8 * oracle.STRIDE, wrap_x=wrap)
        inputs = {
            "positive": positive,
            "negative": negative,
            "steps": oracle.STEPS,
            "cfg": oracle.CFG,
            "latent_image": latent or small.empty_latent(8 * oracle.CANVAS, 64),
            "denoise": denoise,
        }
        if how == "sampler":
            return panorama(model, layout, windows_per_batch=per_batch, **inputs)[0]["samples"]
        if how == "custom":
            return _advanced(run_node, model, layout, per_batch, inputs)
        patched = run_node("SyncDiffusionApplyWindows", model=model, windows=layout, windows_per_batch=per_batch)[0]
        return ksampler(patched, **inputs)

    return run


def _advanced(run_node, model: object, layout: object, per_batch: int, inputs: dict) -> torch.Tensor:
    """SamplerCustomAdvanced with our sampler around euler."""
    roles = {role: inputs[role] for role in ("positive", "negative", "cfg")}
    schedule = {"scheduler": "normal", "steps": inputs["steps"], "denoise": inputs["denoise"]}
    return run_node(
        "SamplerCustomAdvanced",
        noise=run_node("RandomNoise", noise_seed=3)[0],
        guider=run_node("CFGGuider", model=model, **roles)[0],
        sampler=run_node("SyncDiffusionSampler", windows=layout, windows_per_batch=per_batch)[0],
        sigmas=run_node("BasicScheduler", model=model, **schedule)[0],
        latent_image=inputs["latent_image"],
    )[0]["samples"]


@pytest.fixture
def core_of(pack) -> Callable[[str], object]:
    """core_of("canvases.images") -> that module of the core, as ComfyUI has loaded it with the pack."""
    package = pack["SyncDiffusionWindowTiler"].__module__.rsplit(".", 2)[0]
    return lambda name: importlib.import_module(f"{package}.syncdiffusion_core.{name}")


@pytest.fixture
def pictures(core_of) -> Callable[..., object]:
    """pictures("identity", "rotate 180", …) -> VIEWS of an ambiguous image, 64 px; agree in latents unless told."""
    images, schedule = core_of("canvases.images"), core_of("views.schedule")

    def make(*kinds: str, size: tuple[int, int] = (64, 64), space: str = "latents", **spec: object) -> object:
        looks = tuple(images.ImageLook(images.ImageMap(kind)) for kind in kinds)
        return images.ImageViews(size, looks, space=schedule.Space(space), **spec)

    return make


@pytest.fixture
def view_sampler(run_node, small) -> Callable[..., tuple]:
    """view_sampler(model, views, **inputs) -> (samples, picture, trace) of the View Sampler with small defaults."""

    def run(model: object, views: object, **inputs: object) -> tuple:
        settings = {
            "seed": 3,
            "steps": 4,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": small.conditioning(1),
            "negative": small.conditioning(2),
        }
        latent, image, trace = run_node("SyncDiffusionViewSampler", model=model, views=views, **{**settings, **inputs})
        return latent["samples"], image, trace

    return run


@pytest.fixture
def noise_of_views(core_of, module_of) -> Callable[..., torch.Tensor]:
    """noise_of_views(model, views, seed, pictures) -> what the View Sampler starts from: [V*N, C, h, w]."""
    import comfy.sample

    def make(model: object, views: object, seed: int = 3, count: int = 1) -> torch.Tensor:
        every = views.resolve(None, module_of("host.run.layout").cells_of(model.model)).latent.every
        latent_format = model.get_model_object("latent_format")
        frames = [1] * (latent_format.latent_dimensions - 2)
        canvas = torch.zeros(count, latent_format.latent_channels, *frames, *every.canvas)
        return core_of("views.noise").noise_of(every, comfy.sample.prepare_noise(canvas, seed))

    return make


@pytest.fixture
def approx(host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models/vae_approx."""
    import folder_paths

    folder = tmp_path / "vae_approx"
    folder.mkdir()
    known = ([str(folder)], {".safetensors", ".pth"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae_approx", known)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return folder


@pytest.fixture(scope="session")
def shapes() -> object:
    """The meshes with exact UVs of the core's tests."""
    path = Path(__file__).resolve().parents[1] / "core" / "canvases" / "shapes.py"
    spec = importlib.util.spec_from_file_location("syncdiffusion_tests_shapes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mesh(host, shapes) -> Callable[..., object]:
    """mesh("torus", …) -> MESH of the host's, of shapes.torus_parts(…); keywords replace what it holds."""
    from comfy_api.latest import Types

    def make(name: str, *sizes: float, **other: object) -> object:
        parts = (part[None] for part in getattr(shapes, f"{name}_parts")(*sizes))
        return Types.MESH(**{**dict(zip(("vertices", "faces", "uvs"), parts, strict=True)), **other})

    return make


class GivenNoise:
    """A NOISE of the host's that is known before."""

    seed = 3

    def __init__(self, noise: torch.Tensor) -> None:
        self._noise = noise

    def generate_noise(self, latent: dict) -> torch.Tensor:
        """What was given, whatever the latent."""
        return self._noise


@pytest.fixture
def from_noise(run_node, small) -> Callable[..., torch.Tensor]:
    """from_noise(model, noise, **inputs) -> samples of SamplerCustomAdvanced, with the View Sampler's defaults."""

    def run(model: object, noise: torch.Tensor, **inputs: object) -> torch.Tensor:
        given = {"steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", **inputs}
        roles = {
            "positive": given.get("positive", small.conditioning(1)),
            "negative": given.get("negative", small.conditioning(2)),
        }
        schedule = {"scheduler": given["scheduler"], "steps": given["steps"], "denoise": given.get("denoise", 1.0)}
        return run_node(
            "SamplerCustomAdvanced",
            noise=GivenNoise(noise),
            guider=run_node("CFGGuider", model=model, **roles, cfg=given["cfg"])[0],
            sampler=run_node("KSamplerSelect", sampler_name=given["sampler_name"])[0],
            sigmas=run_node("BasicScheduler", model=model, **schedule)[0],
            latent_image={"samples": torch.zeros_like(noise)},
        )[0]["samples"]

    return run
