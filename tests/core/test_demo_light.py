"""The demo's light decoder: small, close to the VAE's decoder to look at, and with a gradient that points like its."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from demo.export import WEIGHTS
from demo.light_decoder import FILE, LightDecoder, load_light_decoder
from demo.palettes import BIOMES, TIMES
from demo.pipeline import load_demo
from demo.scenes import render
from demo.train_light import GROUP, Lessons, gradient, gradient_loss, lesson
from syncdiffusion_core.perceptual.files import load_perceptual


@pytest.fixture(scope="module")
def model():
    return load_demo()


@pytest.fixture(scope="module")
def guide():
    return load_perceptual(WEIGHTS / "scene_perceptual.safetensors")


@pytest.fixture(scope="module")
def light():
    return load_light_decoder()


@pytest.fixture(scope="module")
def latents(model):
    """Of one unseen scene of each time of day, [5, 4, 16, 16]."""
    pairs = zip(range(5), TIMES, BIOMES, strict=True)
    strips = np.stack([render(30_000_000 + i, time, biome, 128) for i, time, biome in pairs])
    with torch.no_grad():
        return model.encode_image(torch.from_numpy(strips).permute(0, 3, 1, 2).float() / 255)


def early_predictions(model) -> torch.Tensor:
    """Predictions of pure noise at the first level, [4, 4, 16, 16]: what guidance looks at first."""
    x = 14.6 * torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(11))
    with torch.no_grad():
        return model.denoiser(model.encode(["mountains"]), model.encode([""]), 7.5)(x, 14.6, range(4))


def test_the_file_is_small_and_says_what_it_is():
    assert FILE.stat().st_size < 1e6
    with safe_open(FILE, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "syncdiffusion-demo-light-decoder"
    assert json.loads(metadata["training"])["steps"] > 0


def test_it_takes_any_size_and_stays_in_range(light):
    image = light.decode(3 * torch.randn(2, 4, 16, 24))
    assert image.shape == (2, 3, 128, 192)
    assert 0 <= image.min() <= image.max() <= 1


def test_it_shows_what_the_vae_shows(model, light, latents):
    with torch.no_grad():
        for x0 in (latents, early_predictions(model)):
            assert (light.decode(x0) - model.decode(x0)).abs().mean() < 0.05


def pull(decode, guide, x0):
    """dL/dx0 of all rows but the first towards the first."""
    leaf = x0.clone().requires_grad_(True)
    image = decode(leaf)
    with torch.no_grad():
        anchor = tuple(f[:1] for f in guide.features(image))
    return gradient(image, leaf, guide, anchor)[1:]


def test_its_gradient_points_where_the_vaes_points(model, light, guide):
    x0 = early_predictions(model)
    full, ours = (pull(decode, guide, x0) for decode in (model.decode, light.decode))
    low = [F.avg_pool2d(g, 4).flatten(1) for g in (full, ours)]
    assert F.cosine_similarity(*low).min() > 0.97
    assert F.cosine_similarity(full.flatten(1), ours.flatten(1)).min() > 0.95
    assert 0.5 < (ours.flatten(1).norm(dim=1) / full.flatten(1).norm(dim=1)).median() < 2


def test_a_lesson_is_the_vaes_answer_and_its_loss_falls(model, guide, latents):
    torch.manual_seed(0)
    x0 = latents.repeat(4, 1, 1, 1)[:GROUP] + 0.1 * torch.randn(GROUP, 4, 16, 16)
    made = lesson(model, guide, x0)
    with torch.no_grad():
        picture = ((made["pictures"].float() + 1) / 2).clamp(0, 1)
        assert (picture - model.decode(x0)).abs().mean() < 0.01  # made in bfloat16
    assert made["gradients"].shape == x0.shape
    decoder, lessons = LightDecoder(widths=(8, 8), blocks=(1, 1)), Lessons(made, guide, seed=0)
    before = lessons.loss(decoder, with_gradient=True)
    before.backward()
    assert all(p.grad.isfinite().all() for p in decoder.parameters())
    optimiser = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(15):
        optimiser.zero_grad()
        lessons.loss(decoder, with_gradient=False).backward()
        optimiser.step()
    assert lessons.loss(decoder, with_gradient=True) < before


def test_the_gradient_loss_is_zero_for_the_same_and_sees_length_and_direction():
    g = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    assert gradient_loss(g, g).item() == pytest.approx(0, abs=1e-5)
    assert gradient_loss(2 * g, g).item() == pytest.approx(0.05 * np.log(4) ** 2, rel=1e-4)
    assert gradient_loss(-g, g).item() == pytest.approx(4, rel=1e-4)
