"""The demo's light encoder: small, and what it says of pictures is what the VAE says."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from demo.globe_views import HELD_OUT_SEED, seen
from demo.globes import globe
from demo.light_decoder import load_light_decoder
from demo.light_encoder import FILE, LightEncoder, load_light_encoder
from demo.palettes import BIOMES, TIMES
from demo.pipeline import load_demo
from demo.scenes import render
from demo.train_light_encoder import latent_loss
from syncdiffusion_core.agreement import PictureAgreement
from syncdiffusion_core.batching import WindowBatches
from syncdiffusion_core.canvases.images import ImageLook, ImageMap, ImageViews
from syncdiffusion_core.views.schedule import CellGrid

ERROR = 0.01
"""Mean square error of latents, whose variance is 1."""


@pytest.fixture(scope="module")
def model():
    return load_demo()


@pytest.fixture(scope="module")
def light():
    return load_light_encoder()


@pytest.fixture(scope="module")
def scenes():
    """Unseen ones, one of each time of day: [5, 3, 128, 128]."""
    pairs = zip(range(5), TIMES, BIOMES, strict=True)
    strips = np.stack([render(31_000_000 + i, time, biome, 128) for i, time, biome in pairs])
    return torch.from_numpy(strips).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def around():
    """Views of an unseen globe: level, up, down, zenith, nadir."""
    image = globe(HELD_OUT_SEED + 900_000, TIMES[1], BIOMES[0]).image
    return seen(image, [(10.0, elevation, 0.0) for elevation in (0.0, 45.0, -45.0, 90.0, -90.0)], 80.0)


def test_the_file_is_small_and_says_what_it_is():
    assert FILE.stat().st_size < 0.75e6
    with safe_open(FILE, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "syncdiffusion-demo-light-encoder"
    assert json.loads(metadata["training"])["steps"] > 0


def test_it_takes_any_size(light):
    assert light.encode(torch.rand(2, 3, 128, 192)).shape == (2, 4, 16, 24)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["scenes", "around"])
def test_it_says_what_the_vae_says(model, light, kind, request):
    pictures = request.getfixturevalue(kind)
    decoder = load_light_decoder()
    for shown in (pictures, decoder.decode(model.encode_image(pictures))):
        assert (light.encode(shown) - model.encode_image(shown)).square().mean() < ERROR


@torch.no_grad()
def test_views_agree_as_behind_the_vaes_encoder(model, light, scenes):
    """Those that agree already, and such as never could."""
    resolved = ImageViews((128, 128), (ImageLook(), ImageLook(ImageMap.FLIP_LEFT_RIGHT))).resolve(None, CellGrid(8))
    views, decoder = resolved.latent.every, load_light_decoder()
    full, ours = (
        PictureAgreement(decoder.decode, encode, resolved.pixels.every, WindowBatches(2), bake=model.decode)
        for encode in (model.encode_image, light.encode)
    )
    for other in (scenes[:1].flip(-1), scenes[1:2]):
        x0 = model.encode_image(torch.cat([scenes[:1], other]))
        assert (ours.views(views, x0) - full.views(views, x0)).square().mean() < ERROR


def test_the_loss_is_zero_for_the_same_and_counts_what_is_coarse_twice():
    x0 = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    assert latent_loss(x0, x0) == 0
    assert latent_loss(x0 + 0.5, x0).item() == pytest.approx(0.5)
    checks = 0.5 * (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16))
    assert latent_loss(x0 + checks, x0).item() == pytest.approx(0.25)


def test_it_learns_from_latents():
    torch.manual_seed(0)
    encoder, pictures, x0 = (
        LightEncoder(widths=(8, 8), blocks=(1, 1)),
        torch.rand(4, 3, 64, 64),
        torch.randn(4, 4, 8, 8),
    )
    optimiser, losses = torch.optim.Adam(encoder.parameters(), 1e-2), []
    for _ in range(20):
        optimiser.zero_grad()
        loss = latent_loss(encoder(pictures), x0)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
