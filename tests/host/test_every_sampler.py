"""Every sampler, sampler node and scheduler of the host: the picture of Apply Windows, or a sentence that says why not.

Apply Windows is what they are held to: there the host's sampler runs untouched over a model that sees windows.
"""

import comfy.samplers
import pytest
import torch
from comfy_api.latest import io

import nodes

NAMES = comfy.samplers.KSampler.SAMPLERS
SCHEDULERS = comfy.samplers.KSampler.SCHEDULERS
SELECT = "KSamplerSelect"
STEPS = 4  # the fewest that every scheduler spreads over different levels
WIDTH = 128  # three windows of 64 px
FRAMES_ONLY = {"SamplerARVideo", "VOIDSampler"}
"""Nodes whose sampler is made for one model of moving pictures."""


def sampler_nodes() -> list[str]:
    """All nodes of the host that give a SAMPLER and nothing else, but for the one that takes a name."""
    found = {
        name
        for name, cls in nodes.NODE_CLASS_MAPPINGS.items()
        if tuple(getattr(cls, "RETURN_TYPES", ())) == (io.Sampler.io_type,) and not name.startswith("SyncDiffusion")
    }
    return sorted(found - {SELECT})


SAMPLERS = [(SELECT, name) for name in NAMES] + [(node, None) for node in sampler_nodes()]
IDS = [name or node for node, name in SAMPLERS]


@pytest.fixture
def sampler_of(run_node, models, host):
    """sampler_of((node, name)) -> SAMPLER, its widgets as they come; some ask for the model, too."""

    def make(which):
        node, name = which
        declared = host.mappings[node].INPUT_TYPES().get("required", {})
        given = {"MODEL": models["eps"], "BOOLEAN": False}  # without a default, the interface leaves a box empty
        given = {key: given[spec[0]] for key, spec in declared.items() if spec[0] in given and "default" not in spec[1]}
        return run_node(node, **given, **({} if name is None else {"sampler_name": name}))[0]

    return make


@pytest.fixture
def custom(run_node, small, models):
    """custom(SAMPLER, model, width px, guider) -> latent of SamplerCustomAdvanced."""

    def run(sampler, model=None, width=WIDTH, guider="CFGGuider", scheduler="normal", batch=1):
        model = model or models["eps"]
        prompts = {name: small.conditioning(number) for name, number in GUIDERS[guider]["prompts"].items()}
        return run_node(
            "SamplerCustomAdvanced",
            noise=run_node("RandomNoise", noise_seed=3)[0],
            guider=run_node(guider, model=model, **prompts, **GUIDERS[guider]["widgets"])[0],
            sampler=sampler,
            sigmas=run_node("BasicScheduler", model=model, scheduler=scheduler, steps=STEPS, denoise=1.0)[0],
            latent_image=small.empty_latent(width, 64, batch),
        )[0]["samples"]

    return run


GUIDERS = {
    "BasicGuider": {"prompts": {"conditioning": 1}, "widgets": {}},
    "CFGGuider": {"prompts": {"positive": 1, "negative": 2}, "widgets": {"cfg": 4.0}},
    "DualCFGGuider": {
        "prompts": {"cond1": 1, "cond2": 5, "negative": 2},
        "widgets": {"cfg_conds": 3.0, "cfg_cond2_negative": 4.0},
    },
    "PerpNegGuider": {"prompts": {"positive": 1, "negative": 2, "empty_conditioning": 6}, "widgets": {"cfg": 4.0}},
}


def said(call):
    """(what the call gives, None), or (None, its words) where it refuses in a sentence with a remedy."""
    try:
        return call(), None
    except ValueError as error:
        words = str(error)
        assert len(words) > 30, words
        assert "; " in words, words
        return None, words


def same(one, other):
    assert one.shape == other.shape
    assert (one - other).abs().max() <= 2e-5 * other.abs().max()


def agrees(ours, stock):
    """Both calls give the same picture, or ours refuses in a sentence; nothing is asked where the host fails."""
    result, words = said(ours)
    if words is None:
        same(result, stock())


@pytest.fixture
def sphere(run_node):
    """(VIEWS that agree in latents, RIG) of six views of 64 px that overlap, of a picture of 256 x 128 px."""
    rig = run_node("SyncDiffusionCameraRig", rig="cube", fov=110.0)[0]
    return run_node("SyncDiffusionSphereViews", rig=rig, width=256, view_size=64, agree_in="latents")[0], rig


def disagreement(module, rig, views: torch.Tensor) -> float:
    """Mean difference of latents [V, 4, 8, 8] from their mean where several cameras see a cell of the sphere."""
    maps = [module.sphere_views(type(rig)(turn[None], rig.fov), (16, 32), (8, 8)) for turn in rig.rotations]
    parts = [each.unproject(view[None]) for each, view in zip(maps, views, strict=True)]
    seen = torch.stack([part.weight[0, 0] > 0 for part in parts])  # [V, H, W]
    values = torch.stack([part.mean()[0] for part in parts])  # [V, 4, H, W]
    count = seen.sum(dim=0)
    mean = (values * seen[:, None]).sum(dim=0) / count.clamp(min=1)
    apart = (values - mean).abs().mean(dim=1) * seen
    return float(apart.sum(dim=0)[count > 1].sum() / count[count > 1].sum())


@pytest.mark.parametrize("which", SAMPLERS, ids=IDS)
def test_views_of_a_sphere_agree_or_it_is_said_why_not(which, sphere, sampler_of, run_node, models, custom, core_of):
    """Synchronise Views under every sampler: far closer than the same noise without it."""
    views, rig = sphere
    if which[0] in FRAMES_ONLY:
        return
    model, given = models["eps"], {"sampler": sampler_of(which), "width": 64, "batch": len(rig)}
    patched = run_node("SyncDiffusionSynchroniseViews", model=model, views=views)[0]
    result, words = said(lambda: custom(model=patched, **given))
    if words is None:
        module = core_of("canvases.sphere")
        assert disagreement(module, rig, result) < 0.15 * disagreement(module, rig, custom(model=model, **given))


@pytest.mark.parametrize("which", SAMPLERS, ids=IDS)
class TestEverySampler:
    """Through SyncDiffusion Sampler, at its widgets' defaults."""

    def test_windows_are_those_of_apply_windows(self, which, custom, sampler_of, run_node, windows, models):
        layout, inner = windows(64, 32), sampler_of(which)
        applied = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=layout)[0]
        ours = run_node_of(run_node, windows=layout, sampler=inner)
        if which[0] in FRAMES_ONLY:
            with pytest.raises((ValueError, RuntimeError)):
                custom(ours())
            return
        agrees(lambda: custom(ours()), lambda: custom(inner, applied))

    def test_one_window_is_the_stock_run(self, which, custom, sampler_of, run_node, windows):
        if which[0] in FRAMES_ONLY:
            return
        inner = sampler_of(which)
        ours = run_node_of(run_node, windows=windows(64, 32), sampler=inner)
        agrees(lambda: custom(ours(), width=64), lambda: custom(inner, width=64))

    def test_guidance_moves_it_at_every_step_or_says_why_not(
        self, which, custom, sampler_of, run_node, windows, guidance, host
    ):
        if which[0] in FRAMES_ONLY:
            return
        layout, inner, guide = windows(64, 32), sampler_of(which), guidance(weight=200.0, end_percent=1.0)
        plain = run_node_of(run_node, windows=layout, sampler=inner)
        guided = run_node_of(run_node, windows=layout, sampler=inner, guidance=guide)
        moved, words = said(lambda: custom(guided()))
        if words is not None:
            return
        assert moved.isfinite().all()
        assert (moved - custom(plain())).abs().max() > 1e-3 * moved.abs().max()


def run_node_of(run_node, **inputs):
    """Our SAMPLER, made when it is asked for: it may refuse."""
    return lambda: run_node("SyncDiffusionSampler", **inputs)[0]


@pytest.mark.parametrize(("name", "scheduler"), [(n, SCHEDULERS[k % len(SCHEDULERS)]) for k, n in enumerate(NAMES)])
class TestPanoramaSampler:
    """By name, each under one of the schedulers, in a loop."""

    def test_a_loop_is_that_of_apply_windows(
        self, name, scheduler, panorama, ksampler, windows, models, run_node, small
    ):
        inputs = self.inputs(name, scheduler, small)
        layout = windows(64, 32, wrap_x=True)
        applied = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=layout)[0]
        agrees(lambda: panorama(models["eps"], layout, **inputs)[0]["samples"], lambda: ksampler(applied, **inputs))

    def test_one_window_is_the_stock_run(self, name, scheduler, panorama, ksampler, windows, models, small):
        inputs = {**self.inputs(name, scheduler, small), "latent_image": small.empty_latent(64, 64)}
        agrees(
            lambda: panorama(models["eps"], windows(64, 64), **inputs)[0]["samples"],
            lambda: ksampler(models["eps"], **inputs),
        )

    def test_every_step_is_guided_and_written_down(self, name, scheduler, panorama, windows, models, guidance, small):
        inputs, guide = self.inputs(name, scheduler, small), guidance(weight=200.0, end_percent=1.0)
        layout = windows(64, 32, wrap_x=True)
        done, words = said(lambda: panorama(models["eps"], layout, guidance=guide, **inputs))
        if words is not None:
            return
        assert done[0]["samples"].isfinite().all()
        assert len(done[1].splitlines()) == steps_of(models["eps"], name, scheduler)
        unguided = panorama(models["eps"], layout, **inputs)[0]["samples"]
        assert (done[0]["samples"] - unguided).abs().max() > 1e-3 * unguided.abs().max()

    @staticmethod
    def inputs(name, scheduler, small):
        given = {"sampler_name": name, "scheduler": scheduler, "steps": STEPS}
        return {**given, "latent_image": small.empty_latent(WIDTH, 64)}


def steps_of(model, name, scheduler):
    """As many as the host makes: some schedulers give others than they are asked for."""
    run = comfy.samplers.KSampler(
        model, steps=STEPS, device=torch.device("cpu"), sampler=name, scheduler=scheduler, denoise=1.0
    )
    return len(run.sigmas) - 1


@pytest.mark.parametrize("guider", GUIDERS)
@pytest.mark.parametrize(
    "name", ["euler", "euler_ancestral", "heun", "dpmpp_2m", "euler_cfg_pp", "res_multistep_cfg_pp"]
)
class TestEveryGuider:
    """Those that make several predictions a step as well; PerpNeg's projection is taken before windows are averaged."""

    def test_windows_are_those_of_apply_windows(self, guider, name, custom, sampler_of, run_node, windows, models):
        layout, inner = windows(64, 32), sampler_of((SELECT, name))
        applied = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=layout)[0]
        ours = run_node_of(run_node, windows=layout, sampler=inner)
        if guider == "PerpNegGuider":
            result, words = said(lambda: custom(ours(), guider=guider))
            assert words is not None or result.isfinite().all()
            return
        agrees(lambda: custom(ours(), guider=guider), lambda: custom(inner, applied, guider=guider))

    def test_one_window_is_the_stock_run(self, guider, name, custom, sampler_of, run_node, windows):
        inner = sampler_of((SELECT, name))
        ours = run_node_of(run_node, windows=windows(64, 32), sampler=inner)
        agrees(lambda: custom(ours(), width=64, guider=guider), lambda: custom(inner, width=64, guider=guider))


def test_none_is_missing():
    """The host has as many as were counted, or more, which then run above."""
    assert len(NAMES) >= 44
    assert len(sampler_nodes()) >= 15
