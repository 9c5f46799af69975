"""The host's seams: memory, interruption, size conditioning, previews, patches that were there before."""

import comfy.model_management
import comfy.samplers
import latent_preview
import pytest
import torch
from comfy.patcher_extension import WrappersMP


@pytest.fixture
def asked_memory(monkeypatch):
    """The input shapes for which the host was asked to make room."""
    shapes = []

    def record(model):
        plain = type(model.model).memory_required

        def memory_required(shape, **kwargs):
            shapes.append(list(shape))
            return plain(model.model, shape, **kwargs)

        monkeypatch.setattr(model.model, "memory_required", memory_required)
        return shapes

    return record


def test_memory_follows_the_window_batch(small, panorama, windows, run_node, ksampler, asked_memory):
    from comfy.model_base import ModelType

    model = small.unet_model(ModelType.EPS)
    shapes = asked_memory(model)
    latent = small.empty_latent(768, 64)
    panorama(model, windows(64, 32), latent_image=latent, steps=1, windows_per_batch=2)
    windowed = run_node("SyncDiffusionApplyWindows", model=model, windows=windows(64, 32), windows_per_batch=2)[0]
    ksampler(windowed, latent_image=latent, steps=1)
    assert shapes
    assert max(shape[-1] for shape in shapes) == 8  # the window's width in cells, never the canvas's 96
    assert max(shape[0] for shape in shapes) == 4  # two windows, two CFG branches


@pytest.mark.parametrize("guided", [False, True])
def test_interrupt_comes_within_one_window_batch(models, panorama, windows, guidance, guided):
    calls = []

    def stop(executor, *args, **kwargs):
        calls.append(1)
        comfy.model_management.interrupt_current_processing(True)
        return executor(*args, **kwargs)

    model = models["eps"].clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", stop)
    guide = guidance(weight=20.0, end_percent=1.0) if guided else None
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        panorama(model, windows(64, 32), guidance=guide, windows_per_batch=1)
    assert len(calls) == 1
    comfy.model_management.interrupt_current_processing(False)
    panorama(models["eps"], windows(64, 32), steps=1)


def test_sdxl_windows_get_the_size_of_a_window(small, panorama, windows, run_node, ksampler, guidance):
    model, seen = small.sdxl_model(), []

    def look(executor, *args, **kwargs):
        seen.append(kwargs["y"][:, 1280:].clone())
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", look)
    small_canvas, canvas = small.empty_latent(64, 64), small.empty_latent(192, 64)
    ksampler(model, latent_image=small_canvas, steps=1)
    wanted = seen[0][0]
    layout = windows(64, 32)
    panorama(model, layout, latent_image=canvas, steps=1)
    ksampler(run_node("SyncDiffusionApplyWindows", model=model, windows=layout)[0], latent_image=canvas, steps=1)
    sampler = run_node("SyncDiffusionSampler", windows=layout)[0]
    sigmas = run_node("BasicScheduler", model=model, scheduler="normal", steps=1, denoise=1.0)[0]
    run_node(
        "SamplerCustom",
        model=model,
        add_noise=True,
        noise_seed=1,
        cfg=4.0,
        positive=small.conditioning(1),
        negative=small.conditioning(2),
        sampler=sampler,
        sigmas=sigmas,
        latent_image=canvas,
    )
    assert all(torch.equal(row, wanted) for y in seen for row in y)
    own = small.conditioning(1, width=4096, height=1024)
    count = len(seen)
    panorama(model, layout, latent_image=canvas, steps=1, positive=own, negative=own)
    assert not any(torch.equal(row, wanted) for y in seen[count:] for row in y)


def test_previews_and_progress_are_of_the_whole_panorama(models, panorama, windows, guidance, monkeypatch):
    steps = []

    def prepare(model, total, x0_output=None):
        return lambda step, x0, x, count: steps.append((step, count, tuple(x0.shape), tuple(x.shape)))

    monkeypatch.setattr(latent_preview, "prepare_callback", prepare)
    panorama(models["eps"], windows(64, 32), guidance=guidance(end_percent=0.5), steps=4)
    assert steps == [(k, 4, (1, 4, 8, 24), (1, 4, 8, 24)) for k in range(4)]


def test_the_loss_of_each_guided_step_is_shown_under_the_node(models, panorama, windows, guidance, host):
    _, trace = panorama(models["eps"], windows(64, 64), guidance=guidance(end_percent=1.0), steps=3)
    shown = [data for _, data in host.server.events if isinstance(data, bytes) and b"differed" in data]
    assert len(trace.splitlines()) == len(shown) == 3


def test_earlier_patches_of_the_model_still_act(models, panorama, windows, guidance):
    """A CFG patch and a function wrapper set before ours are called for windows, guided or not."""
    seen = []
    model = models["eps"].clone()

    def after_cfg(args):
        seen.append(("cfg", args["denoised"].shape))
        return args["denoised"]

    def around_unet(apply, args):
        seen.append(("unet", args["input"].shape))
        return apply(args["input"], args["timestep"], **args["c"])

    model.set_model_sampler_post_cfg_function(after_cfg)
    model.set_model_unet_function_wrapper(around_unet)
    panorama(model, windows(64, 32), guidance=guidance(end_percent=0.5), steps=2)
    assert {name for name, _ in seen} == {"cfg", "unet"}
    assert all(shape[-1] == 8 for _, shape in seen)


def test_windows_on_the_model_and_in_the_sampler_do_not_tile_twice(models, panorama, windows, run_node):
    layout = windows(64, 32)
    windowed = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=layout)[0]
    assert torch.equal(panorama(windowed, layout)[0]["samples"], panorama(models["eps"], layout)[0]["samples"])


def test_context_windows_of_the_host_are_refused(models, panorama, windows, run_node):
    model = run_node("ContextWindowsManual", model=models["eps"], context_length=8, context_overlap=2, dim=3)[0]
    with pytest.raises(ValueError, match="context windows"):
        panorama(model, windows(64, 32))


@pytest.mark.parametrize("gradient", ["image prior (Wiener)", "through the model"])
def test_an_error_of_the_decoder_passes_on_where_weights_are_streamed(
    gradient, models, panorama, windows, guidance, module_of, monkeypatch, host
):
    """It says nothing about the model's backward pass."""

    class Streamed(type(models["eps"])):
        def is_dynamic(self):
            return True

    decoder, calls = module_of("host.gradient.decoder").HostDecoder, []
    decode = decoder.__call__

    def second_time_broken(self, x0):
        calls.append(x0)
        if len(calls) == 2:
            raise RuntimeError("a passing fault")
        return decode(self, x0)

    monkeypatch.setattr(decoder, "__call__", second_time_broken)
    model = models["eps"].clone()
    model.__class__ = Streamed
    host.server.events.clear()
    with pytest.raises(RuntimeError, match="a passing fault"):
        panorama(model, windows(64, 64), guidance=guidance(end_percent=1.0, gradient=gradient), steps=2)
    assert not any(b"gradient: forward only" in data for _, data in host.server.events if isinstance(data, bytes))


def test_streamed_weights_that_cannot_be_fetched_again_mean_forward_only(models, panorama, windows, guidance, host):
    class Streamed(type(models["eps"])):
        def is_dynamic(self):
            return True

    def refuse(executor, x, *args, **kwargs):
        if x.requires_grad:
            raise RuntimeError("the weights have been evicted")
        return executor(x, *args, **kwargs)

    model = models["eps"].clone()
    model.__class__ = Streamed
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", refuse)
    through = panorama(model, windows(64, 64), guidance=guidance(end_percent=1.0), steps=2)[0]["samples"]
    said = [data for _, data in host.server.events if isinstance(data, bytes) and b"gradient: forward only" in data]
    forward = guidance(end_percent=1.0, gradient="forward only")
    wanted = panorama(models["eps"], windows(64, 64), guidance=forward, steps=2)[0]["samples"]
    assert said
    assert torch.equal(through, wanted)
