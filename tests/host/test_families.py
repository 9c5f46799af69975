"""Every model family: loads, denoises through windows, is the stock sampler in one window, and can be guided."""

from types import SimpleNamespace

import comfy.ldm.cosmos.predict2
import comfy.model_management
import comfy.ops
import pytest
import small_families
import torch

FAMILIES = small_families.FAMILIES
STEPS = small_families.STEPS

every_family = pytest.mark.parametrize("name", FAMILIES)


def agree(one, other, tolerance=1e-5):
    assert one.shape == other.shape
    assert (one - other).abs().max() <= tolerance * other.abs().max()


@every_family
def test_loads(name, of):
    """As the host's own class of that family, with its noise; weights are inference tensors, as users have them."""
    bench = of(name)
    assert type(bench.model.model) is bench.family.base
    assert isinstance(bench.model.model.model_sampling, bench.family.noise)
    assert all(parameter.is_inference() for parameter in bench.model.model.diffusion_model.parameters())
    assert bench.vae.latent_channels == bench.family.channels
    assert bench.model.model.latent_format.spacial_downscale_ratio == bench.family.cell_px


@every_family
def test_windows_and_strides_are_held_to_the_patch(name, of, module_of, windows):
    bench, layout = of(name), module_of("host.run.layout")
    model, patch, cell_px = bench.model.model, bench.family.patch, bench.family.cell_px
    assert layout.patch_size(model) == patch
    canvas = (1, 1, 64 // cell_px, 192 // cell_px)
    resolved = layout.resolve_windows(windows(64, 40), model, canvas).latent.every
    assert all(left % patch == 0 for _, left in resolved.origins)
    unit = patch * cell_px
    if unit > 8:  # the tiler's own step
        with pytest.raises(ValueError, match=f"window_width must be a multiple of {unit} px for this model, got 56"):
            layout.resolve_windows(windows(56, 40), model, canvas)


def test_the_patch_of_cosmos_and_anima(module_of):
    """Which their network calls otherwise than the rest, as Krea 2's does."""
    frame = {"max_img_h": 16, "max_img_w": 16, "max_frames": 1, "in_channels": 16, "out_channels": 16}
    frame |= {"patch_spatial": 2, "patch_temporal": 1, "pos_emb_cls": "rope3d"}
    frame |= {"model_channels": 64, "num_blocks": 1, "num_heads": 1}
    network = comfy.ldm.cosmos.predict2.MiniTrainDIT(**frame, device="meta", operations=comfy.ops.disable_weight_init)
    assert module_of("host.run.layout").patch_size(SimpleNamespace(diffusion_model=network)) == 2


@every_family
def test_one_window_is_the_stock_sampler(name, of, windows):
    bench = of(name)
    agree(bench.samples(windows(192, 64)), bench.stock())


@every_family
def test_windows(name, of, run_node, windows):
    """By either node, in any batch size; a window sees what a canvas of its size would."""
    bench = of(name)
    layout = windows(64, 32)
    one, all_ = (bench.samples(layout, windows_per_batch=n) for n in (1, 0))
    assert one.shape == bench.family.latent(192, 64)["samples"].shape
    assert all_.isfinite().all()
    agree(one, all_)
    applied = run_node("SyncDiffusionApplyWindows", model=bench.model, windows=layout)[0]
    agree(bench.stock(applied), all_)


@every_family
def test_windows_side_by_side_are_pictures_of_their_size(name, of, windows):
    """Without overlap each is the stock sampler's picture of its noise: nothing of the canvas's size is seen."""
    bench = of(name)
    panorama = bench.samples(windows(64, 64))
    cells = 64 // bench.family.cell_px
    noise = torch.randn(bench.family.latent(192, 64)["samples"].shape, generator=torch.manual_seed(3))
    for index, part in enumerate(panorama.split(cells, dim=-1)):
        own = noise[..., index * cells : (index + 1) * cells].clone()
        agree(bench.stock_from(own), part)


def test_sdxl_is_told_the_windows_size_beside_an_area(of):
    """For which the host makes further conditions, of another's prompt; against sizes given by the user."""
    bench = of("SDXL")

    def samples(**sizes):
        area = {"area": (8, 12, 0, 6), "strength": 1.0, "set_area_to_bounds": False}
        positive = bench.family.conditioning(1, **sizes) + bench.family.conditioning(5, **area, **sizes)
        return bench.samples(positive=positive, negative=bench.family.conditioning(2, **sizes))

    agree(samples(), samples(width=64, height=64))


@every_family
def test_guidance_lowers_the_distance_between_windows(name, of, windows, host):
    """Of the same seed's decoded panorama; a model without a backward pass is guided forward only, and says so."""
    bench = of(name)
    plain = bench.run(windows(64, 64))[0]
    guided, trace = bench.run(windows(64, 64), guidance=bench.guidance())
    said = [data for _, data in host.server.events if isinstance(data, bytes) and b"gradient: forward only" in data]
    assert bool(said) == (not bench.family.backward)
    assert len(trace.splitlines()) == STEPS
    assert bench.intra(guided) < 0.95 * bench.intra(plain)


@every_family
def test_guidance_forward_only(name, of, windows):
    bench = of(name)
    plain = bench.samples(windows(64, 64), steps=2)
    moved = bench.samples(windows(64, 64), steps=2, guidance=bench.guidance(gradient="forward only"))
    assert moved.isfinite().all()
    assert not torch.allclose(plain, moved, atol=1e-4)


@pytest.mark.parametrize("name", ["SD3", "Wan", "HiDream-O1"])
def test_sample_k_of_a_batch_equals_its_own_run(name, of, windows):
    """Moves of a strength that rounding does not carry over a kink of the network: at ten times this, a forward
    difference (HiDream-O1) does on some processors."""
    bench = of(name)
    layout, guided = windows(64, 64), {"guidance": bench.guidance(weight=200.0)}
    batch = bench.samples(layout, batch=2, **guided)
    assert not torch.equal(batch, bench.samples(layout, batch=2)), "guidance did nothing"
    for k in range(2):
        alone = {**bench.family.latent(192, 64), "batch_index": [k]}
        agree(bench.samples(layout, latent_image=alone, **guided)[0], batch[k], 1e-4)


def test_several_frames_are_not_guided(of):
    bench = of("Wan")
    latent = {"samples": torch.zeros(1, 16, 3, 8, 24)}
    assert bench.samples(latent_image=latent).shape == latent["samples"].shape
    with pytest.raises(ValueError, match="this latent holds 3 frames in time; make a latent of one frame"):
        bench.run(latent_image=latent, guidance=bench.guidance())


def test_the_custom_sampler_refuses_guidance_that_does_not_fit(of, windows, run_node):
    """A SAMPLER first meets its model in the run."""
    bench = of("SDXL")
    sampler = run_node("SyncDiffusionSampler", windows=windows(64, 64), guidance=of("SD3").guidance())[0]
    inputs = bench.inputs()
    sigmas = run_node("BasicScheduler", model=bench.model, scheduler="normal", steps=1, denoise=1.0)[0]
    chosen = {name: inputs[name] for name in ("positive", "negative", "cfg", "latent_image")}
    with pytest.raises(ValueError, match="vae: it decodes latents of 16 channels and the model makes 4"):
        run_node(
            "SamplerCustom",
            model=bench.model,
            add_noise=True,
            noise_seed=3,
            sampler=sampler,
            sigmas=sigmas,
            **chosen,
        )


@pytest.mark.parametrize("name", ["HiDream-O1", "PixelDiT"])
def test_models_of_pixels_are_guided_without_a_vae(name, of, windows):
    """As with what the host gives them in the place of one."""
    bench = of(name)
    with_it = bench.samples(windows(64, 64), guidance=bench.guidance())
    agree(bench.samples(windows(64, 64), guidance=bench.guidance(vae=None)), with_it, 1e-4)


def test_the_noise_scale_of_a_pixel_model_is_its_own(of, module_of):
    """HiDream-O1's noise is eight times as large: x = (1 - sigma) x0 + 8 sigma eps."""
    process = module_of("host.run.process").host_process(of("HiDream-O1").model.model.model_sampling)
    assert (process.a(0.25), process.b(0.25)) == (0.75, 2.0)
    assert process.state_variance(0.25) == 0.75**2 + 4.0


def test_the_host_computes_as_before_after_a_guided_run(of, windows):
    """Its switch to differentiable kernels is back where it was."""
    bench = of("Flux")
    before = bench.stock()
    bench.run(windows(64, 64), guidance=bench.guidance())
    assert comfy.model_management.in_training is False
    agree(bench.stock(), before)
