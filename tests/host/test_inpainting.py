"""Masks in the real host: pixels to keep under guidance, guidance in a part of the canvas, sequential extrapolation."""

import comfy.sample
import pytest
import torch

WIDTH = 24  # latent cells of the canvas
SEQUENTIAL = "sequential (Blended Latent Diffusion)"
LOOPS = ("reference (Algorithm 1)", "host sampler")


def assert_close(ours, wanted):
    assert (ours - wanted).abs().max() <= 2e-5 * wanted.abs().max()


def photograph(keep=slice(0, 12), soft=False, batch=1):
    """A LATENT of which these columns are to be kept; soft: with a border between."""
    mask = torch.ones(1, 64, 8 * WIDTH)
    mask[..., 8 * keep.start : 8 * keep.stop] = 0
    if soft:
        mask = torch.nn.functional.avg_pool1d(mask[0], 33, 1, 16)[None]
    samples = torch.randn(batch, 4, 8, WIDTH, generator=torch.manual_seed(8))
    return {"samples": samples, "noise_mask": mask}


@pytest.fixture
def guided(panorama, windows, guidance, models):
    def run(weight=200.0, algorithm="automatic", layout=None, model=None, guide=None, **inputs):
        chosen = guidance(weight=weight, end_percent=1.0, **(guide or {}))
        settings = {"steps": 4, "guidance": chosen, "algorithm": algorithm, **inputs}
        return panorama(model or models["eps"], layout or windows(64, 32), **settings)

    return run


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("algorithm", LOOPS)
@pytest.mark.parametrize("differential", [False, True])
def test_one_guided_window_under_a_mask_is_the_stock_sampler(
    guided, windows, models, ksampler, run_node, algorithm, soft, differential
):
    """It is its own anchor: nothing moves, and the blend is the host's."""
    model = models["eps"]
    if differential:
        model = run_node("DifferentialDiffusion", model=model, strength=1.0)[0]
    latent = photograph(soft=soft)
    ours = guided(model=model, layout=windows(192, 192), algorithm=algorithm, latent_image=latent)[0]["samples"]
    assert_close(ours, ksampler(model, steps=4, latent_image=latent))


@pytest.mark.parametrize("algorithm", LOOPS)
def test_a_mask_that_keeps_nothing_changes_nothing(guided, algorithm):
    latent = photograph(slice(0, 0))
    unmasked = {"samples": latent["samples"]}
    ours, plain = (guided(algorithm=algorithm, latent_image=part)[0]["samples"] for part in (latent, unmasked))
    assert_close(ours, plain)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("algorithm", LOOPS)
@pytest.mark.parametrize("gradient", ["through the model", "forward only", "image prior (Wiener)"])
def test_kept_pixels_stay_and_the_rest_is_guided(guided, algorithm, gradient, batch):
    latent = photograph(batch=batch)
    run = {"algorithm": algorithm, "latent_image": latent, "guide": {"gradient": gradient}}
    moved, still = (guided(weight, **run)[0]["samples"] for weight in (200.0, 0.0))
    kept, wanted = moved[..., :12], latent["samples"][..., :12]
    assert (kept - wanted).abs().max() < 1e-4
    assert (moved - still)[..., 12:].abs().max() > 1e-3


@pytest.mark.parametrize("algorithm", LOOPS)
def test_the_rest_follows_a_window_of_the_kept_picture(guided, windows, vae, perceptual, algorithm):
    """The anchor is the picture itself, whatever the model would make of it."""
    latent = photograph(slice(0, 8))
    run = {"algorithm": algorithm, "layout": windows(64, 64), "latent_image": latent, "cfg": 1.0, "steps": 8}
    anchored = {"anchor": "window by index", "anchor_index": 0, "max_move": 0.0}

    @torch.inference_mode()
    def distance(weight):
        samples = guided(weight, guide=anchored, **run)[0]["samples"]
        tiles = [vae.decode(samples[..., left : left + 8]).movedim(-1, 1) for left in (0, 8, 16)]
        features = [perceptual.network.features(tile) for tile in tiles]
        return sum(float(perceptual.network.distance(f, features[0])) for f in features[1:])

    assert distance(2000.0) < 0.9 * distance(0.0)


@pytest.mark.parametrize("algorithm", LOOPS)
def test_guidance_can_be_limited_to_a_mask(guided, windows, run_node, algorithm):
    """Windows side by side: those outside the mask are as without guidance, and are not looked at."""
    mask = torch.zeros(1, 16, 48)
    mask[..., 32:] = 1
    run = {"algorithm": algorithm, "layout": windows(64, 64)}
    inside, trace = guided(guide={"mask": mask}, **run)
    free = guided(0.0, **run)[0]["samples"]
    everywhere = guided(**run)[0]["samples"]
    assert len(trace.splitlines()) == 4
    assert_close(inside["samples"][..., :16], free[..., :16])
    assert_close(inside["samples"][..., 16:], everywhere[..., 16:])
    outside = guided(guide={"mask": run_node("InvertMask", mask=mask)[0]}, **run)[0]["samples"]
    assert_close(outside[..., :8], everywhere[..., :8])
    assert_close(outside[..., 16:], free[..., 16:])


@pytest.mark.parametrize("algorithm", LOOPS)
def test_each_sample_of_a_batch_is_its_own_run(guided, windows, algorithm):
    """Masks of each, of odd sizes, for the noise and for the guidance, on a loop that is partly redone."""
    latent, mask = photograph(batch=2), torch.rand(2, 13, 29, generator=torch.manual_seed(4))
    latent["noise_mask"] = torch.ones(2, 37, 101)
    latent["noise_mask"][0, :, :40], latent["noise_mask"][1, :20, 60:], mask[0, :, :15] = 0, 0.3, 0
    run = {"algorithm": algorithm, "layout": windows(64, 32, wrap_x=True), "denoise": 0.7, "steps": 2}
    both = guided(latent_image=latent, guide={"mask": mask}, **run)[0]["samples"]
    for k in range(2):
        one = {**{name: part[k : k + 1] for name, part in latent.items()}, "batch_index": [k]}
        assert_close(both[k : k + 1], guided(latent_image=one, guide={"mask": mask[k : k + 1]}, **run)[0]["samples"])


def test_a_guidance_mask_may_lack_its_batch_axis(guided):
    """As some nodes give masks: [H, W]."""
    mask = torch.rand(8, 24, generator=torch.manual_seed(4))
    bare, whole = (guided(guide={"mask": part}, steps=1)[0]["samples"] for part in (mask, mask[None]))
    assert torch.equal(bare, whole)


def test_an_empty_guidance_mask_is_no_guidance(guided, host):
    free = guided(0.0)[0]["samples"]
    assert_close(guided(guide={"mask": torch.zeros(1, 8, 8)})[0]["samples"], free)
    assert any(b"no window is guided" in data for _, data in host.server.events if isinstance(data, bytes))


@pytest.fixture
def stock_inpainting(models, small):
    """stock_inpainting(latent canvas, noise, unknown columns) -> the window at ``left``, by the host's own sampler."""

    def run(model, canvas, noise, unknown, left):
        span = slice(left, left + 8)
        mask = torch.tensor([float(column in unknown) for column in range(left, left + 8)]).repeat(1, 8, 1)
        conds = small.conditioning(1), small.conditioning(2)
        crop = canvas[..., span].clone()
        return comfy.sample.sample(
            model, noise[..., span].clone(), 4, 4.0, "euler", "normal", *conds, crop, noise_mask=mask, seed=3
        )

    return run


@pytest.mark.parametrize("family", ["eps", "v", "flow"])
@pytest.mark.parametrize("keep", [None, slice(16, 24)], ids=["from nothing", "from a picture"])
def test_sequential_extrapolation_is_stock_inpainting_window_after_window(
    panorama, windows, models, small, stock_inpainting, family, keep
):
    """Blended Latent Diffusion on each window, the next one keeping what the last has made."""
    latent = photograph(keep) if keep else small.empty_latent(8 * WIDTH, 64)
    run = {"steps": 4, "algorithm": SEQUENTIAL, "latent_image": latent}
    ours = panorama(models[family], windows(64, 32), **run)[0]["samples"]
    noise = comfy.sample.prepare_noise(latent["samples"], 3)
    canvas, unknown = latent["samples"].clone(), set(range(24)) - set(range(24)[keep] if keep else ())
    with torch.inference_mode():
        for left in (12, 8, 4, 0) if keep else (8, 4, 0, 12, 16):
            made = stock_inpainting(models[family], canvas, noise, unknown, left)
            for column in sorted(unknown & set(range(left, left + 8))):
                canvas[..., column] = made[..., column - left]
            unknown -= set(range(left, left + 8))
    assert not unknown
    assert_close(ours, canvas)


@pytest.mark.parametrize("family", ["eps", "flow"])
def test_sequential_with_one_window_is_the_stock_sampler(panorama, windows, models, ksampler, family):
    run = {"steps": 4, "latent_image": photograph(soft=True)}
    ours = panorama(models[family], windows(192, 192), algorithm=SEQUENTIAL, **run)
    assert_close(ours[0]["samples"], ksampler(models[family], **run))


def test_a_sequential_run_without_noise_is_refused(panorama, windows, models):
    """What is made would be blended in clean, at every noise level."""
    run = {"algorithm": SEQUENTIAL, "latent_image": photograph(), "add_noise": False}
    with pytest.raises(ValueError, match="noise: .* turn add_noise on"):
        panorama(models["eps"], windows(64, 32), **run)


def test_the_bar_of_a_sequential_run_counts_one_pass(run_node, windows, models, small, host):
    """Its callback gives the host's steps, however many windows there are."""
    seen = []
    sampler = run_node("SyncDiffusionSampler", windows=windows(64, 32), algorithm=SEQUENTIAL)
    sigmas = run_node("BasicScheduler", model=models["eps"], scheduler="normal", steps=4, denoise=1.0)[0]
    latent = torch.zeros(1, 4, 8, WIDTH)
    conds = small.conditioning(1), small.conditioning(2)
    with torch.inference_mode():
        comfy.sample.sample_custom(
            models["eps"],
            torch.randn(latent.shape),
            4.0,
            sampler[0],
            sigmas,
            *conds,
            latent,
            callback=lambda step, x0, x, total: seen.append((step, total, x0.shape)),
        )
    assert [step for step, _, _ in seen] == sorted(step for step, _, _ in seen)
    assert {(step, total) for step, total, _ in seen} == {(step, 4) for step in range(4)}
    assert {shape for *_, shape in seen} == {latent.shape}
