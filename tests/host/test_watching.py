"""A run that checks itself: what goes wrong in silence elsewhere is a sentence here."""

import comfy.k_diffusion.sampling
import comfy.samplers
import pytest
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP

WAYS = ("sampler", "custom", "apply windows")


@pytest.fixture
def prompts(small):
    return {"positive": small.conditioning(1), "negative": small.conditioning(2)}


@pytest.fixture
def said(host):
    return lambda: "\n".join(str(data) for _, data in host.server.events)


def broken_at(model, call, value=float("nan"), rows=slice(None)):
    """A clone whose network answers NaN in some rows of one of its calls."""
    clone, calls = model.clone(), []

    def apply(executor, x, *args, **kwargs):
        calls.append(len(x))
        out = executor(x, *args, **kwargs).clone()
        if len(calls) == call:
            out[rows] = value
        return out

    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", apply)
    return clone


class TestNumbers:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.parametrize("call", [1, 3])
    @pytest.mark.parametrize("how", WAYS)
    def test_nan_from_the_model(self, how, call, value, windowed, models, prompts):
        with pytest.raises(ValueError, match=r"model: at sigma .* predicts NaN or infinite values"):
            windowed(how, broken_at(models["eps"], call, value, rows=slice(1)), **prompts)

    def test_nan_that_guidance_makes(self, panorama, windows, models, guidance):
        """The paper's move has no limit: with a weight beyond reason it leaves the numbers."""
        guide = guidance(weight=1000.0, end_percent=1.0, gradient="decoder only")
        object.__setattr__(guide.schedule, "weight", 1e38)
        with pytest.raises(ValueError, match="NaN or infinite values"):
            panorama(models["eps"], windows(64, 32), steps=3, guidance=guide, algorithm="reference (Algorithm 1)")

    def test_windows_left_alone_are_said(self, panorama, windows, models, guidance, module_of, monkeypatch):
        loss_of_run = module_of("host.run.guiding").PerceptualLoss
        gradient_of = loss_of_run._gradient

        def broken(self, eyes, numbers, target):
            loss, gradient = gradient_of(self, eyes, numbers, target)
            return loss, gradient * float("nan")

        monkeypatch.setattr(loss_of_run, "_gradient", broken)
        guide = guidance(weight=20.0, end_percent=1.0, gradient="decoder only")
        trace = panorama(models["eps"], windows(64, 32), steps=2, guidance=guide, windows_per_batch=1)[1]
        assert "of them were left alone, because their gradient holds NaN" in trace


class TestSizes:
    def smea(self, model, x, sigmas, **kwargs):
        """As euler_smea_dy: it asks about a canvas of half the size in between."""

        def call(x, sigma, **extra_args):
            smaller = F.interpolate(x, scale_factor=0.5)
            model(smaller, sigma, **extra_args)
            return model(x, sigma, **extra_args)

        call.inner_model = model.inner_model
        return comfy.k_diffusion.sampling.sample_euler(call, x, sigmas, **kwargs)

    def larger(self, model, x, sigmas, **kwargs):
        """A sampler that goes on with a larger picture."""
        x = comfy.k_diffusion.sampling.sample_euler(model, x, sigmas[:2], **kwargs)
        return comfy.k_diffusion.sampling.sample_euler(model, F.interpolate(x, scale_factor=2), sigmas[1:], **kwargs)

    @pytest.mark.parametrize("guided", [False, True])
    @pytest.mark.parametrize("name", ["smea", "larger"])
    def test_a_sampler_that_changes_the_canvas(self, name, guided, run_node, windows, models, prompts, small, guidance):
        inner = comfy.samplers.KSAMPLER(getattr(self, name))
        more = {"guidance": guidance(weight=100.0, end_percent=1.0, gradient="decoder only")} if guided else {}
        sampler = run_node("SyncDiffusionSampler", windows=windows(64, 32), sampler=inner, **more)[0]
        with pytest.raises(ValueError, match=r"sampler: it asks the model about a picture of (4 x 12|16 x 48) latent"):
            self.run(run_node, sampler, models["eps"], prompts, small)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda x: F.interpolate(x, scale_factor=2), r"gives back \(1, 4, 16, 48\)"),
            (lambda x: torch.cat([x, x]), r"gives back \(2, 4, 8, 24\)"),
            (lambda x: x[:, :3], r"gives back \(1, 3, 8, 24\)"),
            (lambda x: (x, x), "gives back tuple"),
            (lambda x: None, "gives back NoneType"),
        ],
    )
    def test_a_sampler_that_gives_back_something_else(self, change, words, run_node, windows, models, prompts, small):
        def ends(model, x, sigmas, **kwargs):
            return change(comfy.k_diffusion.sampling.sample_euler(model, x, sigmas, **kwargs))

        inner = comfy.samplers.KSAMPLER(ends)
        sampler = run_node("SyncDiffusionSampler", windows=windows(64, 32), sampler=inner)[0]
        with pytest.raises(ValueError, match=words):
            self.run(run_node, sampler, models["eps"], prompts, small)

    @pytest.mark.parametrize("name", ["smea", "larger"])
    def test_under_apply_windows_too(self, name, run_node, windows, models, prompts, small):
        applied = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=windows(64, 32))[0]
        with pytest.raises(ValueError, match="keeps the canvas's size"):
            self.run(run_node, comfy.samplers.KSAMPLER(getattr(self, name)), applied, prompts, small)

    @pytest.mark.parametrize("how", WAYS)
    def test_a_function_that_shows_the_network_another_size(self, how, windowed, models, prompts):
        """As a second tiling pack in the host's one slot: its network call is not the window that it was given."""
        model = models["eps"].clone()

        def wrapper(apply, args):
            larger = F.interpolate(args["input"], scale_factor=2)
            return F.interpolate(apply(larger, args["timestep"], **args["c"]), scale_factor=0.5)

        model.set_model_unet_function_wrapper(wrapper)
        with pytest.raises(ValueError, match=r"model: it is shown 16 x 16 latent cells where windows have 8 x 8"):
            windowed(how, model, **prompts)

    @pytest.mark.parametrize("how", WAYS)
    def test_areas_show_parts_of_windows(self, how, windowed, models, small):
        area = small.conditioning(1, area=(4, 12, 0, 6), strength=1.0)
        assert windowed(how, models["eps"], area + small.conditioning(3), small.conditioning(2)).isfinite().all()

    def run(self, run_node, sampler, model, prompts, small):
        return run_node(
            "SamplerCustomAdvanced",
            noise=run_node("RandomNoise", noise_seed=3)[0],
            guider=run_node("CFGGuider", model=model, cfg=4.0, **prompts)[0],
            sampler=sampler,
            sigmas=run_node("BasicScheduler", model=model, scheduler="normal", steps=3, denoise=1.0)[0],
            latent_image=small.empty_latent(192, 64),
        )


class TestOneWindow:
    """Guidance of one window has nothing to do: it costs nothing, and says so."""

    def test_no_guided_work(self, panorama, windows, ksampler, models, guidance, said):
        guide = guidance(weight=20.0, end_percent=1.0)
        ours, trace = panorama(models["eps"], windows(192, 192), guidance=guide)
        assert "one window would be its own anchor" in said()
        assert trace == ""
        stock = ksampler(models["eps"])
        assert (ours["samples"] - stock).abs().max() <= 2e-5 * stock.abs().max()

    def test_the_mean_of_one_is_no_other(self, panorama, windows, models, guidance, said):
        guide = guidance(weight=20.0, end_percent=1.0, anchor="mean of all windows")
        assert panorama(models["eps"], windows(192, 192), guidance=guide)[1] == ""
        assert "one window would be its own anchor" in said()

    def test_a_picture_still_pulls(self, panorama, windows, models, guidance):
        guide = guidance(
            weight=500.0,
            end_percent=1.0,
            anchor="reference image",
            anchor_image=torch.rand(1, 64, 192, 3),
            gradient="decoder only",
        )
        assert len(panorama(models["eps"], windows(192, 192), guidance=guide)[1].splitlines()) == 8


class TestMemory:
    """Memory that runs out at the anchor's picture or in the sequential loop says what to do, as everywhere else."""

    @pytest.mark.parametrize("anchor", ["centre window", "reference image", "mean of all windows"])
    def test_at_the_anchor(self, anchor, panorama, windows, models, guidance, module_of, monkeypatch):
        def full(self, image):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(module_of("host.run.guiding").HostDistance, "features", full)
        picture = {"anchor_image": torch.rand(1, 64, 64, 3)} if anchor == "reference image" else {}
        guide = guidance(weight=20.0, end_percent=1.0, gradient="decoder only", anchor=anchor, **picture)
        with pytest.raises(torch.OutOfMemoryError, match="Not even one window fits"):
            panorama(models["eps"], windows(64, 32), guidance=guide)

    def test_in_the_sequential_loop(self, panorama, windows, models):
        model = models["eps"].clone()

        def full(executor, *args, **kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory")

        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", full)
        with pytest.raises(torch.OutOfMemoryError, match="Not even one window fits"):
            panorama(model, windows(64, 32), algorithm="sequential (Blended Latent Diffusion)")


def test_several_gpus_are_the_reason_that_is_given(panorama, windows, models, guidance, said):
    model = models["eps"].clone()
    model.set_additional_models("multigpu", [models["eps"].clone()])
    guide = guidance(weight=20.0, end_percent=1.0, gradient="through the model")
    panorama(model, windows(64, 32), steps=1, guidance=guide)
    assert "forward only, because the model has no backward pass here: ComfyUI runs it on several GPUs" in said()


class TestPastTheOptions:
    """Samplers that call the network without the run's options, in which windows are."""

    def empty_options(self, model, x, sigmas, extra_args=None, callback=None, disable=None):
        """As a sampler with a prediction of its own."""
        guider = model.inner_model
        conds = [guider.conds["positive"], guider.conds["negative"]]
        for sigma, after in zip(sigmas[:-1], sigmas[1:], strict=True):
            positive, _ = comfy.samplers.calc_cond_batch(guider.inner_model, conds, x, sigma.expand(len(x)), {})
            x = x + (x - positive) / sigma * (after - sigma)
        return x

    def network_itself(self, model, x, sigmas, extra_args=None, callback=None, disable=None):
        """As the host's ar_video."""
        base, (entry,) = model.inner_model.inner_model, model.inner_model.conds["positive"]
        text = entry["model_conds"]["c_crossattn"].cond
        for sigma, after in zip(sigmas[:-1], sigmas[1:], strict=True):
            x0 = base.apply_model(x, sigma.expand(len(x)), c_crossattn=text)
            x = x + (x - x0) / sigma * (after - sigma)
        return x

    @pytest.mark.parametrize("how", ["ours", "apply windows"])
    @pytest.mark.parametrize("name", ["empty_options", "network_itself"])
    def test_they_are_refused(self, name, how, run_node, windows, models, prompts, small):
        sampler, model = comfy.samplers.KSAMPLER(getattr(self, name)), models["eps"]
        if how == "ours":
            sampler = run_node("SyncDiffusionSampler", windows=windows(64, 32), sampler=sampler)[0]
        else:
            model = run_node("SyncDiffusionApplyWindows", model=model, windows=windows(64, 32))[0]
        with pytest.raises(ValueError, match=r"model: it is shown 8 x 24 latent cells where windows have 8 x 8"):
            TestSizes.run(self, run_node, sampler, model, prompts, small)
        hooks = models["eps"].model.diffusion_model._forward_pre_hooks
        assert not hooks, "nothing stays on the network"


@pytest.mark.parametrize("how", ["sampler", "apply windows"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_sde"])
def test_noise_levels_that_are_no_numbers(sampler, how, panorama, ksampler, run_node, windows, models):
    inputs = {"sampler_name": sampler, "scheduler": "kl_optimal", "steps": 1}
    applied = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=windows(64, 32))[0]
    runs = {
        "sampler": lambda: panorama(models["eps"], windows(64, 32), **inputs),
        "apply windows": lambda: ksampler(applied, **inputs),
    }
    with pytest.raises(ValueError, match=r"sigmas: the noise levels hold NaN .* kl_optimal"):
        runs[how]()


@pytest.mark.parametrize("how", ["stock", "run"])
@pytest.mark.parametrize("count", [2, 3])
def test_a_batch_of_masks_is_taken_for_frames(count, how, of, run_node, windows):
    """By the host, of latents with a time axis; here there is one."""
    bench = of("Wan")
    ((text, options),) = bench.family.conditioning(1)
    masked = [[text, {**options, "mask": torch.ones(count, 64, 192)}]]
    applied = run_node("SyncDiffusionApplyWindows", model=bench.model, windows=windows(64, 32))[0]
    model = {"model": applied} if how == "stock" else {}
    with pytest.raises(ValueError, match=f"conditioning: a mask in it is a batch of {count} for a latent of 1 frames"):
        getattr(bench, how)(positive=masked, **model)
