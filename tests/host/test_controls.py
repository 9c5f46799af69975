"""Controls follow their windows: ControlNets of every kind, against windows alone through the host's functions."""

import comfy.controlnet
import pytest
import torch

pytestmark = pytest.mark.usefixtures("living_models")

CANVAS, STEPS = 24, 3  # as in the oracle
HOW = pytest.mark.parametrize("how", ["sampler", "apply windows"])
WRAP = pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])


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
@WRAP
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
@WRAP
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

    oracle.agree(
        windowed(how, models["eps"], **conds(), wrap=wrap),
        alone(models["eps"], lambda window: conds(lambda image: in_window(window, image)), wrap),
    )


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


def in_window(window, image):
    """A picture [1, H, W, C] or a mask [1, H, W] as an artist would give it to a canvas of that window's size."""
    return window.cut(image, 8) if image.ndim == 3 else window.cut(image.movedim(-1, 1), 8).movedim(1, -1)


@HOW
@WRAP
def test_a_control_lora_is_that_of_windows_alone(how, wrap, small, models, alone, windowed, run_node, oracle):
    """It makes its network of the model's own weights at the start of each run."""
    net = small.control_lora()

    def conds(cut=lambda image: image):
        return controlled(run_node, small, net, cut(ramp(seed=6)))

    ours = windowed(how, models["eps"], **conds(), wrap=wrap)
    oracle.agree(ours, alone(models["eps"], lambda window: conds(lambda image: in_window(window, image)), wrap))
    plain = windowed(how, models["eps"], small.conditioning(1), small.conditioning(2), wrap=wrap)
    assert not torch.allclose(ours, plain)


@HOW
@WRAP
@pytest.mark.parametrize("size", [1, 2], ids=["", "mask of half the size"])
def test_an_inpaint_control_is_that_of_windows_alone(
    how, wrap, size, small, models, vae, alone, windowed, run_node, oracle
):
    """AliMama's: the picture is encoded with a hole, and its mask comes with it (extra_concat)."""
    net = small.control_net("concat")
    mask = (torch.arange(8 * CANVAS) // 24 % 2).float().repeat(1, 64, 1)

    def conds(window=None):
        image, hole = ramp(seed=6), mask
        if window is not None:
            image, hole = in_window(window, image), in_window(window, hole)
        roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
        given = {"control_net": net, "vae": vae, "image": image, "mask": hole[:, ::size, ::size]}
        outs = run_node("ControlNetInpaintingAliMamaApply", **roles, **given)
        return dict(zip(roles, outs, strict=True))

    oracle.agree(windowed(how, models["eps"], **conds(), wrap=wrap), alone(models["eps"], conds, wrap))


@HOW
@pytest.mark.parametrize("kind", ["auto", "depth"])
def test_a_union_control_is_that_of_windows_alone(how, kind, small, alone, windowed, run_node, oracle):
    """Its network pools the hint: of a window, not of the canvas."""
    model, net = small.union_model()
    net = run_node("SetUnionControlNetType", control_net=net, type=kind)[0]

    def conds(cut=lambda image: image):
        return controlled(run_node, small, net, cut(ramp(seed=6)))

    ours = windowed(how, model, **conds())
    oracle.agree(ours, alone(model, lambda window: conds(lambda image: in_window(window, image))))
