"""Guided runs in the real host, against a straight-line transcription of Algorithm 1."""

import comfy.samplers
import pytest
import torch

STEPS = 50


def assert_close(ours: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal to float32 accuracy of a guided run: batched and single convolutions round differently."""
    assert (ours - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def algorithm_1(model, vae, perceptual, positive, negative, cfg, sigmas, start, spans, weights):
    """Algorithm 1, window by window, on the host's plain functions. spans: [left, right) of each window."""
    base = model.model
    process = sys_process(base.model_sampling)
    canvas = start
    for k, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        total, count = torch.zeros_like(canvas), torch.zeros_like(canvas)
        anchor = None
        if weights[k]:
            left, right = spans[len(spans) // 2]
            anchor = perceptual.features(decoded(base, vae, denoised(base, canvas[..., left:right], sigma)))
        for index, (left, right) in enumerate(spans):
            x = canvas[..., left:right]
            if anchor is not None and index != len(spans) // 2:
                x = x.clone().requires_grad_(True)
                with torch.enable_grad():
                    image = decoded(base, vae, denoised(base, x, sigma))
                    loss = perceptual.distance(perceptual.features(image), anchor).sum()
                    (gradient,) = torch.autograd.grad(loss, x)
                cells = x.shape[-1] * x.shape[-2] / 4096
                a, b = process(sigma)
                x = (x - weights[k] * perceptual.constant * cells * (a * a + b * b) * gradient).detach()
            x0 = denoised(base, x, sigma)
            (a, b), (a_next, b_next) = process(sigma), process(sigma_next)
            noise = (x - a * x0) / b
            total[..., left:right] += a_next * x0 + b_next * noise
            count[..., left:right] += 1
        canvas = total / count
    return canvas


def sys_process(sampling):
    """(a, b) of a level by the textbook: VE for EPS and V, straight lines for flow."""
    flow = "CONST" in [cls.__name__ for cls in type(sampling).__mro__]
    return (lambda s: (1 - s, s)) if flow else (lambda s: (1.0, s))


def denoised(base, x, sigma):
    """CFG by hand on two plain model calls."""
    level = torch.full((x.shape[0],), sigma)
    cond, uncond = (base.apply_model(x, level, c_crossattn=c.expand(x.shape[0], -1, -1)) for c in base.test_conds)
    return uncond + base.test_cfg * (cond - uncond)


def decoded(base, vae, x0):
    """The VAE's module itself, clamped to [0, 1]."""
    image = vae.first_stage_model.decode(base.process_latent_out(x0))
    return ((image + 1) / 2).clamp(0, 1)


def thaw(module):
    """Replace inference tensors by copies, in a module that the test owns."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    for owner in module.modules():
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = buffer.clone()
    return module


@pytest.mark.parametrize("family", ["eps", "v", "flow"])
def test_fifty_guided_steps_equal_algorithm_1(small, run_node, perceptual, panorama, windows, guidance, family):
    from comfy.model_base import ModelType

    kind = {"eps": ModelType.EPS, "v": ModelType.V_PREDICTION, "flow": ModelType.FLOW}[family]
    positive, negative = small.conditioning(1), small.conditioning(2)
    with torch.inference_mode(False):
        twin = small.unet_model.__wrapped__(kind)  # the same weights, as ordinary tensors
        vae = small.small_vae.__wrapped__()
        thaw(twin.model.model_sampling)
        twin.model.test_conds, twin.model.test_cfg = (positive[0][0], negative[0][0]), 4.0
        schedule = comfy.samplers.calculate_sigmas(twin.model.model_sampling, "ddim_uniform", STEPS)
        sigmas = [float(s) for s in schedule]
        weights = [20 * 0.95**k for k in range(len(sigmas) - 1)]
        noise = torch.randn(1, 4, 8, 16, generator=torch.manual_seed(3))
        process = sys_process(twin.model.model_sampling)
        start = noise * process(sigmas[0])[1]
        if family != "flow" and sigmas[0] >= float(twin.model.model_sampling.sigma_max):
            start = noise * (1 + sigmas[0] ** 2) ** 0.5
        spans = [(0, 8), (4, 12), (8, 16)]
        with torch.no_grad():
            wanted = algorithm_1(twin, vae, perceptual.network, positive, negative, 4.0, sigmas, start, spans, weights)
            wanted = twin.model.process_latent_out(wanted)
    ours = panorama(
        small.unet_model(kind),
        windows(64, 32),
        guidance=guidance(weight=20.0, end_percent=1.0, max_move=0.0),
        algorithm="reference (Algorithm 1)",
        sampler_name="ddim",
        scheduler="ddim_uniform",
        steps=STEPS,
        latent_image=small.empty_latent(128, 64),
    )
    assert len(ours[1].splitlines()) == len(sigmas) - 1
    assert (ours[0]["samples"] - wanted).abs().max() <= 1e-3 * wanted.abs().max()


@pytest.fixture
def guided(panorama, windows, guidance, models):
    """guided(**sampler inputs) -> latent and trace of a short guided run over three windows."""

    def run(family="eps", weight=200.0, guide=None, layout=None, **inputs):
        settings = {"steps": 4, **inputs}
        chosen = guidance(weight=weight, end_percent=1.0, **(guide or {}))
        return panorama(models[family], layout or windows(64, 64), guidance=chosen, **settings)

    return run


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(guided):
    first, again, other = guided(), guided(), guided(seed=4)
    assert torch.equal(first[0]["samples"], again[0]["samples"])
    assert first[1] == again[1]
    assert not torch.equal(first[0]["samples"], other[0]["samples"])


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_guidance_lowers_the_distance_between_windows(guided, perceptual, vae, run_node, sampler):
    def intra(weight):
        latent = guided(weight=weight, sampler_name=sampler, steps=8)[0]
        image = run_node("SyncDiffusionPanoramaDecode", samples=latent, vae=vae)[0]
        return run_node("SyncDiffusionCoherence", image=image, perceptual_model=perceptual, window_size=64)[0]

    assert intra(2000.0) < 0.95 * intra(0.0)


@pytest.mark.parametrize("per_batch", [1, 2, 5])
def test_windows_per_batch_do_not_change_the_picture(guided, windows, per_batch):
    layout = windows(64, 32)
    whole = guided(layout=layout, windows_per_batch=0)[0]["samples"]
    assert_close(guided(layout=layout, windows_per_batch=per_batch)[0]["samples"], whole)


def test_sample_k_of_a_batch_equals_its_own_run(guided, small):
    batch = guided(latent_image=small.empty_latent(192, 64, batch=3))[0]["samples"]
    for k in range(3):
        alone = {**small.empty_latent(192, 64), "batch_index": [k]}
        assert_close(guided(latent_image=alone)[0]["samples"][0], batch[k])


@pytest.mark.parametrize("gradient", ["forward only", "decoder only", "noisy latent (Eq. 13)"])
def test_other_gradients_run_and_move(guided, gradient):
    plain = guided(weight=0.0)[0]["samples"]
    moved = guided(guide={"gradient": gradient})[0]["samples"]
    assert moved.isfinite().all()
    assert not torch.allclose(plain, moved, atol=1e-6)


def test_anchors(guided, windows):
    pictures = {
        anchor: guided(guide={"anchor": anchor, **extra})[0]["samples"]
        for anchor, extra in {
            "centre window": {},
            "window by index": {"anchor_index": 1},
            "mean of all windows": {},
            "reference image": {"anchor_image": torch.rand(1, 90, 200, 3)},
        }.items()
    }
    assert torch.equal(pictures["centre window"], pictures["window by index"])
    assert not torch.equal(pictures["centre window"], pictures["mean of all windows"])
    assert not torch.equal(pictures["centre window"], pictures["reference image"])


def test_the_centre_of_a_grid_with_an_even_number_of_rows(guided, small):
    """Two rows of three windows: the middle one of the second row, not its first."""
    canvas = small.empty_latent(192, 128)
    centre = guided(guide={"anchor": "centre window"}, latent_image=canvas)[0]["samples"]
    indexed = guided(guide={"anchor": "window by index", "anchor_index": 4}, latent_image=canvas)[0]["samples"]
    assert torch.equal(centre, indexed)


def test_leftover_noise_can_be_continued(guided, models, windows, guidance, panorama, small):
    whole = guided(steps=6)[0]
    first = guided(steps=6, end_at_step=3, return_with_leftover_noise=True)[0]
    rest = guided(steps=6, start_at_step=3, add_noise=False, latent_image=first)[0]
    assert_close(rest["samples"], whole["samples"])


def test_img2img_keeps_the_latent_and_its_unknown_keys(panorama, models, windows, guidance):
    latent = {"samples": torch.randn(1, 4, 8, 24), "made_by": "someone", "downscale_ratio_spacial": 8}
    before = latent["samples"].clone()
    out = panorama(models["eps"], windows(64, 32), latent_image=latent, denoise=0.3)[0]
    assert out["made_by"] == "someone"
    assert "downscale_ratio_spacial" not in out
    assert torch.equal(latent["samples"], before)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_noise_mask_keeps_the_rest(guided, small, sampler):
    mask = torch.zeros(1, 64, 192)
    mask[..., 96:] = 1
    latent = {"samples": torch.randn(1, 4, 8, 24), "noise_mask": mask}
    out = guided(latent_image=latent, sampler_name=sampler)[0]["samples"]
    assert torch.allclose(out[..., :12], latent["samples"][..., :12], atol=1e-5)
    assert not torch.allclose(out[..., 12:], latent["samples"][..., 12:], atol=1e-2)


def test_no_step_in_the_guided_range_is_said_under_the_node(panorama, models, windows, guidance, host):
    panorama(models["eps"], windows(64, 64), guidance=guidance(), denoise=0.3)
    texts = [data for kind, data in host.server.events if isinstance(data, bytes) and b"no step is guided" in data]
    assert texts


def test_the_custom_sampler_equals_the_panorama_sampler(run_node, models, windows, guidance, panorama, small, host):
    layout, guide = windows(64, 64), guidance(weight=200.0, end_percent=1.0)
    wanted = panorama(models["eps"], layout, guidance=guide, steps=4)[0]["samples"]
    sampler = run_node("SyncDiffusionSampler", windows=layout, guidance=guide)[0]
    guider = run_node(
        "CFGGuider", model=models["eps"], positive=small.conditioning(1), negative=small.conditioning(2), cfg=4.0
    )[0]
    noise = run_node("RandomNoise", noise_seed=3)[0]
    sigmas = run_node("BasicScheduler", model=models["eps"], scheduler="normal", steps=4, denoise=1.0)[0]
    ours = run_node(
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=small.empty_latent(192, 64),
    )[0]["samples"]
    assert_close(ours, wanted)
