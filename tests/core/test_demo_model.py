"""The shipped weights: the denoiser's contract, and what the two scene nets can tell."""

import json

import pytest
import torch
from safetensors import safe_open

from demo.export import WEIGHTS
from demo.judge import load_judge, times_of_day
from demo.palettes import BIOMES, TIMES
from demo.pipeline import load_demo
from demo.scenes import render
from syncdiffusion_core.metrics.coherence import side_by_side
from syncdiffusion_core.perceptual.files import load_perceptual
from syncdiffusion_core.perceptual.scene_net import SceneNet

GUIDE = WEIGHTS / "scene_perceptual.safetensors"


@pytest.fixture(scope="module")
def model():
    return load_demo()


@pytest.fixture(scope="module")
def renders():
    """One unseen picture of each time and biome, [25, 3, 128, 128] in [0, 1]."""
    strips = [render(20_000_000 + i, time, biome, 128) for i, time in enumerate(TIMES) for biome in BIOMES]
    return torch.stack([torch.from_numpy(s) for s in strips]).permute(0, 3, 1, 2).float() / 255


def test_files_are_small_and_say_what_they_are():
    with safe_open(WEIGHTS / "demo_model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["unet_config"])["context_dim"] == json.loads(metadata["text_config"])["width"]
    assert len(json.loads(metadata["latent_rgb_factors"])) == 4
    sizes = [(WEIGHTS / f"{name}.safetensors").stat().st_size for name in ("demo_model", "scene_perceptual")]
    assert sum(sizes) <= 32 * 2**20


def test_each_row_is_denoised_under_its_own_prompt(model):
    cond, uncond = model.encode(["desert at noon", "lake at night"]), model.encode([""])
    x = 5 * torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    both = model.denoiser(cond, uncond, 4.0)(x, 5.0, [1, 0])
    alone = model.denoiser(cond[1:], uncond, 4.0)(x[:1], torch.tensor([5.0]), [0])
    torch.testing.assert_close(both[:1], alone, atol=2e-4, rtol=1e-3)


def test_denoiser_and_decoder_are_differentiable(model):
    x = (3 * torch.randn(1, 4, 16, 24)).requires_grad_()
    image = model.decode(model.denoiser(model.encode(["forest"]), model.encode([""]), 3.0)(x, 3.0, [0]))
    assert image.shape == (1, 3, 128, 192)
    image.sum().backward()
    assert x.grad.abs().sum() > 0


def test_latents_have_unit_variance_and_decode_to_their_picture(model, renders):
    z = model.encode_image(renders)
    assert 0.8 < z.std() < 1.25
    assert (model.decode(z) - renders).abs().mean() < 0.05


@pytest.mark.parametrize("load", [load_judge, lambda: load_perceptual(GUIDE)], ids=["judge", "guide"])
def test_scene_nets_name_the_time_of_renders_and_reconstructions(load, model, renders):
    net, truth = load(), torch.arange(5).repeat_interleave(5)
    for image in (renders, model.decode(model.encode_image(renders))):
        assert (net.logits(image)[0].argmax(1) == truth).all()


def test_the_guide_finds_two_times_farther_apart_than_two_pictures_of_one(renders):
    guide = load_perceptual(GUIDE)
    features = guide.features(renders)
    distance = torch.stack([guide.distance(features, tuple(f[i : i + 1] for f in features)) for i in range(25)])
    time = torch.arange(25) // 5
    same = (time[:, None] == time) & ~torch.eye(25, dtype=bool)
    assert distance[time[:, None] != time].mean() > 1.5 * distance[same].mean()
    assert 0.3 < distance[time[:, None] != time].mean() < 0.8


def test_distance_takes_one_anchor_and_any_size_that_16_divides():
    torch.manual_seed(0)
    net = SceneNet()
    image = torch.rand(3, 3, 48, 80, requires_grad=True)
    features = net.features(image)
    distance = net.distance(features, tuple(f[:1].detach() for f in features))
    assert distance.shape == (3,)
    torch.testing.assert_close(distance[0], torch.tensor(0.0))
    distance.sum().backward()
    assert image.grad.isfinite().all()
    assert net.embedding(image).shape == (3, 128)


def test_the_judge_reads_a_panorama_window_by_window(renders):
    panorama = torch.cat([renders[0], renders[20]], dim=2)  # dawn, then night
    assert times_of_day(load_judge(), side_by_side(panorama, 128)).tolist() == [0, 4]
