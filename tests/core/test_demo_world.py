"""The procedural world, its words, and the demo model in plain torch."""

import numpy as np
import pytest
import torch

from demo.captions import TIME_WORDS, caption
from demo.palettes import BIOMES, PALETTES, TIMES
from demo.scenes import render
from demo.schedule import ddim_sigmas, sigmas, timestep
from demo.text_encoder import TextEncoder
from demo.tokenizer import PAD, START, Tokenizer
from demo.vae import SCALE_FACTOR, AutoencoderKL

TOKENS = Tokenizer()


def test_a_scene_is_the_same_for_the_same_seed_and_another_for_another():
    one, again, other = (render(seed, "dusk", "lake", 256) for seed in (1, 1, 2))
    assert one.shape == (128, 256, 3)
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert np.abs(one.astype(int) - other).mean() > 2


@pytest.mark.parametrize("biome", BIOMES)
def test_times_of_day_differ_more_than_days_do(biome):
    means = {t: np.stack([render(s, t, biome, 128).mean((0, 1)) for s in range(3)]) for t in TIMES}
    within = max(np.ptp(m, axis=0).max() for m in means.values())
    centres = [m.mean(0) for m in means.values()]
    between = min(np.abs(a - b).max() for i, a in enumerate(centres) for b in centres[:i])
    assert between > within


def test_the_light_of_the_time_tints_the_ground():
    ground = [render(3, t, "desert", 128)[100:].mean((0, 1)) for t in TIMES]
    apart = [np.abs(a - b).max() for i, a in enumerate(ground) for b in ground[:i]]
    assert min(apart) > 25


def test_half_of_the_captions_leave_the_time_out_and_every_word_is_known():
    rng = np.random.default_rng(0)
    texts = [caption(rng, "night", "forest", cover) for cover in rng.random(400)]
    timed = sum(any(word in TOKENS.words(text) for word in TIME_WORDS["night"]) for text in texts)
    assert 160 < timed < 240
    assert not any(TOKENS.unknown(text) for text in texts)


def test_tokens_are_words_and_unknown_words_are_reported():
    first, empty = TOKENS.batch(["Mountains at sunset, CLOUDS!", ""]).tolist()
    assert first[:5] == [START, *TOKENS.ids("mountains sunset clouds"), PAD]
    assert empty == [START] + [PAD] * (TOKENS.length - 1)
    assert TOKENS.unknown("a beautiful zeppelin over the zeppelin lake, 8k") == ["zeppelin"]


def test_long_prompts_are_cut_to_length():
    assert TOKENS.batch(["lake " * 40]).shape == (1, TOKENS.length)


def test_text_encoder_gives_one_vector_a_token():
    ids = TOKENS.batch(["lake at dusk", ""])
    assert TextEncoder()(ids).shape == (2, TOKENS.length, 128)


def test_schedule_is_that_of_stable_diffusion():
    torch.testing.assert_close(sigmas()[[0, -1]], torch.tensor([0.0292, 14.6146]), atol=1e-4, rtol=0)
    assert timestep(sigmas()[[0, 400, 999]]).tolist() == [0, 400, 999]
    assert ddim_sigmas(10)[-1] == 0


def test_rescaling_the_autoencoder_changes_its_latents_and_no_picture():
    torch.manual_seed(0)
    vae, image = AutoencoderKL().requires_grad_(False), torch.rand(2, 3, 64, 64) * 2 - 1
    z = vae.encode(image)
    before, mean, std = vae.decode(z), torch.randn(4), torch.rand(4) + 0.5
    vae.rescale(mean, std)
    torch.testing.assert_close(vae.decode(vae.encode(image)), before, atol=1e-4, rtol=1e-4)
    expected = (z - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(vae.encode(image) * SCALE_FACTOR, expected, atol=1e-4, rtol=1e-4)


def test_palettes_are_colours():
    for palette in PALETTES.values():
        assert palette.zenith.shape == (3,)
        assert 0 <= palette.horizon.min() <= palette.horizon.max() <= 1.1
