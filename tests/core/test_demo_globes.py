"""The demo's world all around, its captions, and the file of the model that looks around."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from demo import captions, globe_views, globes, judge
from demo.around import AROUND
from demo.brushes import Strip, conifers, noise_1d, noise_2d, paint_blob
from demo.low_rank import tensors_of
from demo.palettes import BIOMES, PALETTES, TIMES
from demo.pipeline import load_demo
from demo.tokenizer import Tokenizer
from syncdiffusion_core.weights import open_weights


@pytest.fixture(scope="module", params=[(3, "noon", "forest"), (14, "sunset", "mountains"), (5, "night", "lake")])
def world(request):
    return globes.globe(*request.param)


def steps(image: np.ndarray, axis: int) -> np.ndarray:
    """Mean difference of neighbours along an axis, the last one to the first."""
    return np.abs(image.astype(float) - np.roll(image.astype(float), -1, axis)).mean(axis=(1 - axis, 2))


def test_its_ends_meet(world):
    across = steps(world.image, axis=1)
    assert across[-1] <= 0.8 * across.max()
    assert abs(float(world.skyline[0] - world.skyline[-1])) < math.radians(6)


def test_the_land_ends_at_the_horizon(world):
    """Where mountains and trees stand above it, by less than 40 degrees; the ground is below."""
    assert -math.radians(8) < np.median(world.skyline) < math.radians(40)


@pytest.mark.parametrize("elevation", [90, -90])
def test_poles_are_no_points(world, elevation):
    """A view of a pole has no finer detail in its middle than beside it."""
    (view,) = globe_views.seen(world.image, [(0.0, elevation, 0.0)], 80.0)
    detail = (view.diff(dim=-1)[:, 1:].abs() + view.diff(dim=-2)[..., 1:].abs()).mean(dim=0)
    assert detail[54:74, 54:74].mean() < 4 * detail.mean() + 0.01


def test_the_sun_is_round():
    image = np.zeros((*globes.SIZE, 3), np.float32)
    sky = Strip(image, PALETTES["noon"], np.random.default_rng(1), np.zeros(globes.SIZE, np.float32), loops=True)
    column = globes._paint_disc(sky, 0.6 * globes.BAND)
    azimuth = (column / sky.width - 0.5) * 360
    rows = np.flatnonzero(image[:, int(column) % sky.width, 0] > 0.98)
    elevation = 90 - (rows.mean() + 0.5) / globes.SIZE[0] * 180
    (view,) = globe_views.seen((image * 255).astype(np.uint8), [(azimuth, elevation, 0.0)], 60.0)
    disc = view[0] > 0.97
    down, right = (int(disc.any(dim=d).sum()) for d in (1, 0))
    assert abs(down - right) <= 1
    assert down > 6


def test_the_same_seed_is_the_same_world():
    one, other = (globes.globe(4, "dawn", "meadow") for _ in range(2))
    assert np.array_equal(one.image, other.image)


def test_noise_that_loops():
    rng = np.random.default_rng(0)
    line = noise_1d(rng, 400, 50, 3, loops=True)
    assert abs(line[0] - line[-1]) < np.abs(np.diff(line)).max()
    plane = noise_2d(rng, 40, 400, (20, 50), 3, loops=True)
    assert np.abs(plane[:, 0] - plane[:, -1]).max() < np.abs(np.diff(plane)).max()


def test_brushes_go_around():
    """A blob at the edge is the one in the middle, rolled; a tree stands on both sides of the edge."""

    def drawn(x: float) -> np.ndarray:
        strip = Strip(np.zeros((20, 40, 3), np.float32), PALETTES["noon"], rng, np.zeros((20, 40), np.float32), True)
        paint_blob(strip, x, 10.0, (4.0, 6.0), np.ones(3, np.float32))
        return strip.image

    rng = np.random.default_rng(0)
    np.testing.assert_allclose(drawn(2.0), np.roll(drawn(22.0), -20, axis=1), atol=1e-6)
    empty = np.zeros((8, 64, 3), np.float32)
    hull = conifers(Strip(empty, PALETTES["noon"], rng, empty[..., 0], True), 400, (20.0, 20.0), 0.5)
    assert hull.min() > 5


class TestCaptions:
    """Words for where a view looks, and none at the horizon but now and then."""

    @pytest.mark.parametrize(
        ("elevation", "words"),
        [(90, ("zenith", "up")), (45, ("up",)), (0, ("horizon",)), (-45, ("down",)), (-90, ("nadir", "down"))],
    )
    def test_they_say_where(self, elevation, words):
        rng = np.random.default_rng(0)
        texts = [captions.caption_around(rng, "noon", "forest", 0.5, elevation) for _ in range(200)]
        known = {word for name in words for word in captions.ELEVATION_WORDS[name]}
        first = {text.split(",")[0] for text in texts}
        others = {word for name, group in captions.ELEVATION_WORDS.items() if name not in words for word in group}
        assert first & known
        assert not first & others

    def test_every_word_is_known(self):
        rng, tokenizer = np.random.default_rng(0), Tokenizer(tuple(captions.VOCABULARY_AROUND))
        for elevation in range(-90, 91, 5):
            text = captions.caption_around(rng, TIMES[elevation % 5], BIOMES[elevation % 3], 0.9, elevation)
            assert tokenizer.unknown(text) == []

    def test_words_of_the_landscapes_keep_their_numbers(self):
        assert captions.VOCABULARY_AROUND[: len(captions.VOCABULARY)] == captions.VOCABULARY
        assert len(set(captions.VOCABULARY_AROUND)) == len(captions.VOCABULARY_AROUND)


def started(model):
    return AROUND.started(model.unet, model.text)


def opened(path):
    return open_weights(path, "safetensors file", "install the pack again")


class TestFile:
    """A low-rank change: what training holds is what the file gives back."""

    def test_it_gives_the_weights_of_training(self, tmp_path):
        torch.manual_seed(0)
        trained = started(load_demo())
        with torch.no_grad():
            for name, weight in trained.named_parameters():
                if name.endswith(".0.up"):
                    weight.normal_(0, 0.01)
        save_file(tensors_of(trained), tmp_path / "around.safetensors")
        unet, text = AROUND.changed(load_demo().unet.state_dict(), opened(tmp_path / "around.safetensors"))
        ids = Tokenizer(tuple(captions.VOCABULARY_AROUND)).batch(["looking up, forest"])
        x, t = torch.randn(1, 4, 16, 16), torch.tensor([500])
        with torch.no_grad():
            context = trained["text"](ids)
            wanted = trained["unet"](x, t, context)
        plain = load_demo().unet
        plain.load_state_dict(unet)
        torch.testing.assert_close(plain(x, t, context), wanted, atol=2e-2, rtol=0)
        assert set(text) == set(trained["text"].state_dict())

    def test_nothing_changes_before_training(self):
        model, plain = started(load_demo()), load_demo()
        x, t, context = torch.randn(1, 4, 16, 16), torch.tensor([500]), plain.encode(["forest"])
        with torch.no_grad():
            torch.testing.assert_close(model["unet"](x, t, context), plain.unet(x, t, context))
            torch.testing.assert_close(model["text"](plain.tokenizer.batch(["forest"])), context)

    def test_another_file_is_refused(self, tmp_path):
        save_file({"unet.out.2.bias": torch.zeros(4)}, tmp_path / "other.safetensors")
        with pytest.raises(ValueError, match="its weights do not fit the demo model that looks around"):
            AROUND.changed(load_demo().unet.state_dict(), opened(tmp_path / "other.safetensors"))

    def test_the_shipped_one_is_small(self):
        assert AROUND.file.stat().st_size + judge.AROUND_FILE.stat().st_size < 12e6
        assert load_file(AROUND.file)
        load_demo(around=True)
