"""Every conditioning follows its window: against an oracle that runs each window alone through the host's functions."""

import comfy.controlnet
import comfy.model_management
import pytest
import torch


@pytest.fixture(autouse=True)
def living_models(host):
    """The host walks its list of loaded models to encode a hint; it cannot bear models that died with their test."""
    loaded = comfy.model_management.current_loaded_models
    loaded[:] = [entry for entry in loaded if entry.model is not None]


CANVAS, STEPS = 24, 3  # as in the oracle
HOW = pytest.mark.parametrize("how", ["sampler", "apply windows"])


def half_mask(left=True):
    """[1, 64, 192] pixels: 1 in one half of the canvas, with a soft border."""
    ramp = ((torch.arange(8 * CANVAS) // 8 - CANVAS / 2) / 4).clamp(-0.5, 0.5) + 0.5
    return (1 - ramp if left else ramp).repeat(1, 64, 1)


def pixels(mask, window):
    return window.cut(mask, 8)


@HOW
@pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
@pytest.mark.parametrize("per_batch", [1, 2, 0])
def test_masks(how, wrap, per_batch, small, models, alone, windowed, run_node, oracle):
    """Two prompts, each in its half."""

    def conds(cut=lambda mask: mask):
        parts = [
            run_node("ConditioningSetMask", conditioning=small.conditioning(seed), mask=cut(half_mask(left)), **spec)[0]
            for seed, left, spec in ((1, True, {"strength": 0.7}), (5, False, {"strength": 1.0}))
        ]
        return {"positive": parts[0] + parts[1], "negative": small.conditioning(2)}

    ours = windowed(how, models["eps"], **conds(), per_batch=per_batch, wrap=wrap)
    oracle.agree(ours, alone(models["eps"], lambda window: conds(lambda mask: pixels(mask, window)), wrap))


@HOW
def test_mask_with_bounds(how, small, models, windowed, run_node):
    """set_cond_area "mask bounds": the host turns the mask into an area as well."""
    mask = torch.zeros(1, 64, 8 * CANVAS)
    mask[..., 64:160] = 1
    extra = run_node(
        "ConditioningSetMask",
        conditioning=small.conditioning(5),
        mask=mask,
        strength=1.0,
        set_cond_area="mask bounds",
    )[0]
    result = windowed(how, models["eps"], positive=small.conditioning(1) + extra, negative=small.conditioning(2))
    assert result.isfinite().all()


@HOW
@pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
@pytest.mark.parametrize("area", [(12, 12), (5, 9), (0, 6), (18, 6), (2, 20)], ids=lambda a: f"{a[0]}+{a[1]}")
def test_areas(how, wrap, area, small, models, alone, windowed, oracle):
    """A prompt over the whole canvas and one in an area (start, width in cells), given in percent and in cells."""
    start, width = area

    def conds(areas):
        parts = [small.conditioning(5, area=a, strength=0.8, set_area_to_bounds=False) for a in areas]
        return {
            "positive": small.conditioning(1) + [part[0] for part in parts],
            "negative": small.conditioning(2),
        }

    percent = ("percentage", 1.0, width / CANVAS, 0.0, start / CANVAS)
    ours = windowed(how, models["eps"], **conds([percent]), wrap=wrap)
    oracle.agree(ours, windowed(how, models["eps"], **conds([(8, width, 0, start)]), wrap=wrap, per_batch=2))

    def in_window(window):
        return conds([(8, length, 0, first) for first, length in window.spans(start, width)])

    oracle.agree(ours, alone(models["eps"], in_window, wrap))


def test_default_conditioning_fills_what_masks_leave(small, models, alone, windowed, oracle):
    def conds(cut=lambda mask: mask):
        masked = small.conditioning(5, mask=cut(half_mask()), mask_strength=1.0, set_area_to_bounds=False)
        return {"positive": masked + small.conditioning(1, default=True), "negative": small.conditioning(2)}

    ours = windowed("sampler", models["eps"], **conds())
    oracle.agree(ours, alone(models["eps"], lambda window: conds(lambda mask: pixels(mask, window))))


def test_timestep_ranges(small, models, alone, windowed, run_node, oracle):
    early = run_node("ConditioningSetTimestepRange", conditioning=small.conditioning(1), start=0.0, end=0.5)[0]
    late = run_node("ConditioningSetTimestepRange", conditioning=small.conditioning(5), start=0.5, end=1.0)[0]
    conds = {"positive": early + late, "negative": small.conditioning(2)}
    oracle.agree(windowed("sampler", models["eps"], **conds), alone(models["eps"], lambda window: conds))


@HOW
def test_inpaint_models_see_their_own_part(how, small, alone, windowed, oracle):
    """A model with nine input channels: mask and masked picture (concat) come with the conditioning."""
    from comfy.model_base import ModelType

    model = small.unet_model(ModelType.EPS, in_channels=9)
    picture = torch.randn(1, 4, 8, CANVAS, generator=torch.manual_seed(9))
    hole = (half_mask()[:, None, ::8, ::8] > 0.5).float()

    def conds(cut=lambda latent: latent):
        options = {"concat_latent_image": cut(picture), "concat_mask": cut(hole)}
        return {"positive": small.conditioning(1, **options), "negative": small.conditioning(2, **options)}

    model.model.concat_keys = ("mask", "masked_image")
    oracle.agree(windowed(how, model, **conds()), alone(model, lambda window: conds(window.cut)))


def ramp(seed=None):
    """A hint of 0 to 1 from left to right, [1, 64, 192, 3]; with a seed, noise of the same size."""
    if seed is not None:
        return torch.rand(1, 64, 8 * CANVAS, 3, generator=torch.Generator().manual_seed(seed))
    return torch.linspace(0, 1, 8 * CANVAS)[None, None, :, None].repeat(1, 64, 1, 3)


def controlled(run_node, small, net, image, vae=None, **settings):
    """Both roles through the host's own node."""
    roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
    extra = {"vae": vae} if vae is not None else {}
    outs = run_node("ControlNetApplyAdvanced", **roles, control_net=net, image=image, **extra, **settings)
    return dict(zip(roles, outs, strict=True))


def hints_of(net):
    """The hints that a control network is shown from now on, one [R, C, h, w] a call."""
    seen = []
    if isinstance(net, comfy.controlnet.T2IAdapter):
        net.t2i_model.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    else:
        note = lambda module, args, kwargs: seen.append(kwargs["hint"].clone())  # noqa: E731
        net.control_model.register_forward_pre_hook(note, with_kwargs=True)
    return seen


KINDS = ("plain", "light", "vae", "concat", "t2i")


@HOW
@pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
@pytest.mark.parametrize("per_batch", [1, 2, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_ramp_arrives_as_each_windows_own_slice(
    how, wrap, per_batch, kind, small, models, vae, windowed, run_node, oracle
):
    """At every step, in any batch size, whatever the host does to the hint on its way."""
    net = small.control_net(kind)
    seen, encodes = hints_of(net), vae if kind in ("vae", "concat") else None
    conds = controlled(run_node, small, net, ramp(), encodes)
    windowed(how, models["eps"], **conds, per_batch=per_batch, wrap=wrap)
    lefts = oracle.lefts(wrap)
    wanted = torch.cat([hint_alone(oracle.WindowAlone(left), encodes, kind) for left in lefts])
    rows = torch.cat(seen)
    distance = (rows[:, None] - wanted[None]).abs().amax(dim=(2, 3, 4))  # [rows, windows]
    assert distance.amin(dim=1).max() < 1e-5, "a window saw what is not its own slice"
    counts = distance.argmin(dim=1).bincount(minlength=len(lefts))
    calls = 1 if kind == "t2i" else STEPS  # an adapter is shown a hint once, a network at each step
    assert (counts >= calls).all(), "a window was left out"


@torch.inference_mode()
def hint_alone(window, vae, kind):
    """The hint of one window as a canvas of its size would get it: [1, C, h, w]."""
    image = window.cut(ramp().movedim(-1, 1), 8)
    if vae is None:
        return image
    latent = comfy.latent_formats.SD15().process_in(vae.encode(image.movedim(1, -1)))
    return torch.cat([latent, torch.ones_like(latent[:, :1])], dim=1) if kind == "concat" else latent


@HOW
@pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
def test_chained_controls_are_those_of_windows_alone(how, wrap, small, models, alone, windowed, run_node, oracle):
    """Two networks, each over a part of the schedule, one with the other strength type."""
    first, second = small.control_net("plain"), small.control_net("light")
    second.strength_type = comfy.controlnet.StrengthType.LINEAR_UP
    images = ramp(), ramp(seed=6)

    def conds(cut=lambda image: image):
        one = controlled(run_node, small, first, cut(images[0]), strength=0.8, start_percent=0.0, end_percent=0.6)
        settings = {"strength": 0.5, "start_percent": 0.1, "end_percent": 1.0}
        outs = run_node("ControlNetApplyAdvanced", **one, control_net=second, image=cut(images[1]), **settings)
        return dict(zip(one, outs, strict=True))

    def in_window(window):
        return conds(lambda image: window.cut(image.movedim(-1, 1), 8).movedim(1, -1))

    oracle.agree(windowed(how, models["eps"], **conds(), wrap=wrap), alone(models["eps"], in_window, wrap))


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_works_untiled_as_before(kind, small, models, vae, windowed, ksampler, run_node):
    net = small.control_net(kind)
    conds = controlled(run_node, small, net, ramp(), vae if kind in ("vae", "concat") else None)
    plain = {"steps": STEPS, "latent_image": small.empty_latent(8 * CANVAS, 64)}
    before = ksampler(models["eps"], **conds, **plain)
    windowed("sampler", models["eps"], **conds)
    assert torch.equal(ksampler(models["eps"], **conds, **plain), before)


@pytest.mark.parametrize("gradient", ["through the model", "forward only"])
def test_guidance_runs_through_a_control(gradient, small, models, windows, panorama, guidance, run_node):
    """Its network is a part of the model that the gradient goes through."""
    conds = controlled(run_node, small, small.control_net("plain"), ramp())
    guide = guidance(weight=200.0, end_percent=1.0, gradient=gradient)
    inputs = {"steps": 2, **conds}
    plain, _ = panorama(models["eps"], windows(64, 64), **inputs)
    moved, trace = panorama(models["eps"], windows(64, 64), guidance=guide, **inputs)
    assert len(trace.splitlines()) == 2
    assert moved["samples"].isfinite().all()
    assert not torch.equal(plain["samples"], moved["samples"])
