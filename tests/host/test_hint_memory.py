"""What a run keeps of hints: each window encoded once where there is room, and no more memory than one whole hint."""

import weakref

import comfy.utils
import pytest
import small_vaes
import torch
from comfy.patcher_extension import WrappersMP
from test_controls import CANVAS, controlled, hints_of, in_window, ramp

from bench.meter import LiveTensors

pytestmark = pytest.mark.usefixtures("living_models")

HOW = pytest.mark.parametrize("how", ["sampler", "apply windows"])


@pytest.fixture
def encoded(vae, monkeypatch):
    """The pictures that the VAE encodes from now on, by their sizes."""
    sizes, encode = [], vae.encode

    def note(pixels):
        sizes.extend([pixels.shape[1:3]] * len(pixels))
        return encode(pixels)

    monkeypatch.setattr(vae, "encode", note)
    return sizes


@pytest.fixture
def vae_of_windows(module_of):
    """vae_of_windows(vae, room)(views) -> the VAE that a ControlNet of these windows is given."""

    def of(vae, room):
        module = module_of("host.conditioning.hint_latents")
        kept = module.HintLatents(room)
        return lambda views: module.WindowVae(vae, kept, module.Rows.grid(1, tuple(views)), (8, 8))

    return of


@HOW
@pytest.mark.parametrize("kind", ["plain", "light", "vae", "concat"])
def test_areas_and_whole_windows_share_a_control(
    how, kind, small, models, vae, encoded, alone, windowed, run_node, oracle
):
    """The host scales a window's hint to each part of it that the model is shown, at every step."""
    net, encodes = small.control_net(kind), vae if kind in ("vae", "concat") else None
    extra = {} if encodes is None else {"vae": encodes}

    def conds(spans, cut=lambda image: image):
        parts = [small.conditioning(5, area=(8, n, 0, k), set_area_to_bounds=False)[0] for k, n in spans]
        roles = {"positive": [*parts, *small.conditioning(1)], "negative": small.conditioning(2)}
        outs = run_node("ControlNetApplyAdvanced", **roles, control_net=net, image=cut(ramp(seed=6)), **extra)
        return dict(zip(roles, outs, strict=True))

    areas = ((6, 6), (12, 8))
    ours = windowed(how, models["eps"], **conds(areas))
    if encodes is not None:
        # Five windows whole, of which the second area covers one; four are met in parts, one of them twice.
        assert len(encoded) == 5 + 4, "a window's part was encoded again"

    def in_one(window):
        return conds([span for area in areas for span in window.spans(*area)], lambda image: in_window(window, image))

    oracle.agree(ours, alone(models["eps"], in_one))


@HOW
@pytest.mark.parametrize("grid", ["as tiled", "alternating"])
@pytest.mark.parametrize("per_batch", [1, 2])
def test_windows_that_come_back_are_encoded_once(
    how, grid, per_batch, small, models, vae, encoded, windows, panorama, ksampler, run_node
):
    conds = controlled(run_node, small, small.control_net("vae"), ramp(), vae)
    layout = windows(64, 32, grid=grid)
    if how == "sampler":
        panorama(models["eps"], layout, windows_per_batch=per_batch, **conds)
    else:
        inputs = {"model": models["eps"], "windows": layout, "windows_per_batch": per_batch}
        ksampler(run_node("SyncDiffusionApplyWindows", **inputs)[0], **conds)
    assert encoded == [(64, 64)] * 5


@pytest.mark.parametrize("gradient", ["through the model", "forward only"])
def test_guidance_in_batches_of_its_own_encodes_nothing_again(
    gradient, small, models, vae, encoded, windows, panorama, guidance, run_node
):
    conds = controlled(run_node, small, small.control_net("vae"), ramp(), vae)
    guide = guidance(weight=200.0, end_percent=1.0, gradient=gradient)
    encoded.clear()
    result, _ = panorama(models["eps"], windows(64, 32), guidance=guide, steps=2, windows_per_batch=2, **conds)
    assert result["samples"].isfinite().all()
    assert len(encoded) == 5


@pytest.mark.parametrize("kind", ["vae", "concat", "plain"])
def test_a_moving_grid_keeps_one_hint_at_most(kind, small, models, vae, windows, panorama, run_node):
    """Windows stand elsewhere at each step: more steps take no more memory, but for latents up to the hint's size."""
    width = 1024
    hint = torch.rand(1, 64, width, 3, generator=torch.manual_seed(1))
    conds = controlled(run_node, small, small.control_net(kind), hint, vae if kind in ("vae", "concat") else None)
    layout, latent = windows(64, 64, grid="rolled"), small.empty_latent(width, 64)

    def peak(steps):
        with LiveTensors() as live:
            panorama(models["eps"], layout, latent_image=latent, steps=steps, windows_per_batch=2, **conds)
        return live.peak

    assert peak(9) - peak(3) <= 0.2 * hint.nbytes  # the latents of six steps, of 4 channels, are 6 / 48


@torch.inference_mode()
def test_a_full_store_keeps_what_it_has(vae_of_windows, vae, encoded):
    """Rows are those of the VAE by itself, kept or not, also where a padded batch repeats one."""
    pixels = torch.rand(3, 64, 64, 3, generator=torch.manual_seed(1))
    wanted = torch.cat([vae.encode(row) for row in pixels.split(1)])
    picks = (0, 1, 2, 2)
    make = vae_of_windows(vae, room=2 * wanted[:1].nbytes)
    for encodings in (3, 1):
        encoded.clear()
        assert torch.equal(make(picks).encode(pixels[list(picks)]), wanted[list(picks)])
        assert len(encoded) == encodings


@torch.inference_mode()
def test_a_vae_of_moving_pictures_does_not_take_windows_for_frames(vae_of_windows):
    vae, pixels = small_vaes.wan_vae(), torch.rand(5, 64, 64, 3, generator=torch.manual_seed(1))
    latents = vae_of_windows(vae, room=0)(range(5)).encode(pixels)
    assert latents.shape == (5, 16, 1, 8, 8)
    assert torch.equal(latents, torch.cat([vae.encode(row) for row in pixels.split(1)]))


@HOW
@pytest.mark.parametrize("kind", ["plain", "vae"])
def test_batches_that_failed_leave_no_hints(how, kind, small, models, vae, windowed, run_node):
    """Once memory has run out and batches are halved, the larger ones' hints are gone."""
    net, shown, left = small.control_net(kind), [], []
    note = lambda module, args, kwargs: shown.append(weakref.ref(kwargs["hint"]))  # noqa: E731
    net.control_model.register_forward_pre_hook(note, with_kwargs=True)
    model = models["eps"].clone()

    def apply(executor, x, *args, **kwargs):
        if len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        left.extend(hint().shape[0] for hint in shown if hint() is not None)
        return executor(x, *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", apply)
    windowed(how, model, **controlled(run_node, small, net, ramp(), vae if kind == "vae" else None))
    assert left
    assert max(left) <= 4


def sharing(small, nets):
    """Both roles with these networks in a chain on one hint, of half the canvas's width: as other packs' nodes do."""
    hint, chain = ramp(seed=6).movedim(-1, 1)[..., : 4 * CANVAS], None
    for net in nets:
        chain = net.copy().set_cond_hint(hint).set_previous_controlnet(chain)
    options = {"control": chain, "control_apply_to_uncond": False}
    return hint, {"positive": small.conditioning(1, **options), "negative": small.conditioning(2, **options)}


@pytest.mark.parametrize("hows", [("nearest-exact", "bilinear"), ("bilinear", "nearest-exact")])
def test_one_hint_is_scaled_as_each_control_wants(hows, small, models, windowed, oracle):
    nets = [small.control_net("light", seed) for seed in (4, 5)]
    for net, how in zip(nets, hows, strict=True):
        net.upscale_algorithm = how
    seen = [hints_of(net) for net in nets]
    hint, conds = sharing(small, nets)
    windowed("sampler", models["eps"], **conds, per_batch=1)
    for hints, how in zip(seen, hows, strict=True):
        whole = comfy.utils.common_upscale(hint, 8 * CANVAS, 64, how, "center")
        wanted = [oracle.WindowAlone(left).cut(whole, 8) for left in oracle.lefts(False)]
        for hint_seen, part in zip(hints, wanted, strict=False):  # of the first step
            assert torch.equal(hint_seen[:1], part)


def test_controls_of_different_cells_share_a_hint(small, models, windowed, monkeypatch):
    """A network of coarser cells beside one of SD's: neither drives out the other's picture."""
    nets = [small.control_net("light", seed) for seed in (4, 5)]
    nets[1].compression_ratio = 16
    hint, conds = sharing(small, nets)
    scaled, upscale = [], comfy.utils.common_upscale

    def note(image, *args):
        scaled.append(image)
        return upscale(image, *args)

    monkeypatch.setattr(comfy.utils, "common_upscale", note)
    windowed("sampler", models["eps"], **conds, per_batch=1)
    assert sum(image is hint for image in scaled) == 2
