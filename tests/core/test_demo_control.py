"""The skylines of the demo world, the hints drawn from them, and its ControlNet in plain torch."""

import numpy as np
import pytest
import torch

from demo.brushes import SUPERSAMPLE, Strip, paint_blob, paint_ground
from demo.controlnet import ControlNet, patches
from demo.export import WEIGHTS
from demo.horizon import drawn, hint_of, smooth, steps, straight
from demo.palettes import BIOMES, PALETTES, TIMES
from demo.pipeline import load_demo
from demo.scenes import HEIGHT, render, scene, skyline_of
from demo.skyline import detect, load_detector, sky_rows
from demo.train_control import FILE, start_from
from demo.train_skyline import montages

COLOUR = np.ones(3, np.float32)


@pytest.fixture
def strip() -> Strip:
    """An empty strip of 32x16 px."""
    shape = (32 * SUPERSAMPLE, 16 * SUPERSAMPLE)
    image, land = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
    return Strip(image, PALETTES["noon"], np.random.default_rng(0), land)


@pytest.fixture(scope="module")
def model():
    return load_demo()


def test_an_empty_strip_is_all_sky(strip):
    assert (skyline_of(strip) == 32).all()


def test_the_skyline_is_the_edge_of_the_ground_in_pixels(strip):
    profile = np.repeat(np.float32([20.0, 31.0]), 8 * SUPERSAMPLE)  # supersampled rows
    paint_ground(strip, profile, COLOUR, COLOUR)
    # A row's centre is its number: ground from row 20 on hides half of that row.
    np.testing.assert_allclose(skyline_of(strip), np.repeat([20.5, 31.5], 8) / SUPERSAMPLE)


def test_what_stands_in_the_sky_is_no_land_and_a_tree_is(strip):
    paint_ground(strip, np.full(strip.width, 40.0, np.float32), COLOUR, COLOUR)
    ground = skyline_of(strip)
    paint_blob(strip, 16.0, 10.0, (4.0, 4.0), COLOUR, in_sky=True)
    assert (skyline_of(strip) == ground).all()
    paint_blob(strip, 16.0, 10.0, (4.0, 4.0), COLOUR)
    assert skyline_of(strip)[8] == pytest.approx(3.0, abs=0.6)  # its top: row 6 of 2 a pixel
    assert skyline_of(strip)[0] == ground[0]


@pytest.mark.parametrize("biome", BIOMES)
def test_the_skyline_of_a_scene_is_where_its_picture_changes(biome):
    drawn = scene(5, "noon", biome, 128)
    assert (drawn.image == render(5, "noon", biome, 128)).all()
    assert drawn.skyline.shape == (128,)
    assert 15 < drawn.skyline.min() <= drawn.skyline.max() < 90
    sky = [drawn.image[: int(top), x].astype(int) for x, top in enumerate(drawn.skyline)]
    land = [drawn.image[int(top) + 2 : int(top) + 6, x].astype(int) for x, top in enumerate(drawn.skyline)]
    edge = np.mean([np.abs(s[-3:].mean(0) - g.mean(0)).max() for s, g in zip(sky, land, strict=True)])
    inside = np.mean([np.abs(s[-3:].mean(0) - s[-7:-3].mean(0)).max() for s in sky])
    assert edge > 2 * inside


def test_a_hint_is_white_below_the_skyline_and_its_edge_a_share():
    hint = hint_of(torch.tensor([[1.0, 2.25]]), height=4)
    assert hint.shape == (1, 3, 4, 2)
    assert hint[0, 0].T.tolist() == [[0, 1, 1, 1], [0, 0, 0.75, 1]]
    assert (4 - hint[0, 1].sum(dim=0)).tolist() == [1.0, 2.25]


def test_hands_draw_smooth_straight_or_stepped_lines_about_the_same_height():
    skyline = scene(1, "noon", "mountains", 128).skyline
    for line in (smooth(skyline, 6), straight(skyline, [0, 40, 90, 127]), steps(skyline, 8)):
        assert line.shape == skyline.shape
        assert abs(line.mean() - skyline.mean()) < 3
    assert np.ptp(np.diff(straight(skyline, [0, 127]))) < 1e-6
    np.testing.assert_allclose(smooth(np.full(20, 7.0), 3), 7.0)
    rng = np.random.default_rng(0)
    exact = sum(np.array_equal(drawn(rng, skyline), skyline) for _ in range(200))
    assert 40 < exact < 100


def test_the_hint_encoder_sorts_pixels_into_channels(model):
    control, hint = start_from(model.unet), torch.rand(2, 3, 32, 48)
    x, t, context = torch.randn(2, 4, 4, 6), torch.tensor([3, 700]), torch.randn(2, 16, 128)
    with torch.no_grad():
        sorted_pixels = control.input_hint_block[:-1](hint, None, None)
        torch.testing.assert_close(sorted_pixels[:, :64], patches(hint), atol=1e-3, rtol=1e-4)
        assert (sorted_pixels[:, 64:] == 0).all()
        features = control.input_hint_block(hint, None, None)
        whole = control.residuals(x, features, t, context)
        quick = control.residuals(x, control.features(patches(hint)), t, context)
    assert features.std() > 0.01
    assert all(w.shape == q.shape for w, q in zip(whole, quick, strict=True))
    torch.testing.assert_close(features, control.features(patches(hint)), atol=1e-3, rtol=1e-3)


def test_an_untrained_controlnet_changes_nothing(model):
    x, t, context = torch.randn(2, 4, 16, 16), torch.tensor([3, 700]), torch.randn(2, 16, 128)
    with torch.no_grad():
        residuals = start_from(model.unet)(x, torch.rand(2, 3, 128, 128), t, context)
        assert all((r == 0).all() for r in residuals)
        assert torch.equal(model.unet(x, t, context, residuals), model.unet(x, t, context))


def test_the_file_fits_and_training_left_the_sorting_alone(model):
    from safetensors.torch import load_file

    control, fresh = ControlNet(), start_from(model.unet)
    control.load_state_dict({name: value.float() for name, value in load_file(FILE).items()})
    trained, sorting = (net.input_hint_block[:-1].state_dict() for net in (control, fresh))
    assert all(torch.equal(trained[name], sorting[name].half().float()) for name in sorting)
    extras = ("horizon_control", "skyline_detector", "judge")
    assert sum((WEIGHTS / f"{name}.safetensors").stat().st_size for name in extras) < 20e6


def test_sky_rows_are_counted_down_to_the_topmost_land():
    land = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0])[None, :, None]
    assert sky_rows((land * 2 - 1) * 50).item() == pytest.approx(2.0)


def test_the_detector_reads_scenes_it_has_never_seen():
    net, errors = load_detector(), []
    for k in range(10):
        real = scene(31_000_000 + k, TIMES[k % 5], BIOMES[k // 2], 128)
        image = torch.from_numpy(real.image).permute(2, 0, 1)[None].float() / 255
        assert image.shape[-2] == HEIGHT
        errors.append((detect(net, image)[0] - torch.from_numpy(real.skyline)).abs().mean())
    assert torch.stack(errors).mean() < 1.5


def test_a_montage_has_the_skyline_of_whichever_picture_shows():
    torch.manual_seed(0)
    shades = torch.arange(8.0)[:, None, None, None].expand(-1, 3, 4, 64)
    image, skyline = montages(shades, torch.arange(8.0)[:, None].expand(-1, 64))
    assert torch.equal(image[4:], shades[4:])
    torch.testing.assert_close(skyline[1:4], image[1:4, 0, 0].round())  # neighbours, one shade apart
