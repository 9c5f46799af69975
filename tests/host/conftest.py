"""Fixtures of the host tests: small models, windows, guidance."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture(scope="session")
def models(small) -> dict[str, object]:
    """A small random model of each noise family."""
    from comfy.model_base import ModelType

    kinds = {"eps": ModelType.EPS, "v": ModelType.V_PREDICTION, "flow": ModelType.FLOW}
    return {name: small.unet_model(kind) for name, kind in kinds.items()}


@pytest.fixture(scope="session")
def vae(small) -> object:
    """A small random VAE."""
    return small.small_vae()


@pytest.fixture
def windows(run_node) -> Callable[..., object]:
    """windows(width, stride, **tiler inputs) -> WINDOWS of that width, 64 px high."""

    def make(width: int, stride: int, height: int = 64, **inputs: object) -> object:
        tiler = run_node(
            "SyncDiffusionWindowTiler",
            **{"window_width": width, "window_height": height, "stride_x": stride, "stride_y": height, **inputs},
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
