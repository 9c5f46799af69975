"""What the host is asked to reserve: one batch of windows, whatever the canvas, and the guided passes with it."""

from types import SimpleNamespace

import comfy.model_management
import pytest
import torch

GB = 2**30


@pytest.fixture
def memory(module_of):
    return module_of("host.run.memory")


@pytest.fixture
def room(models, monkeypatch):
    """room(bytes): what is free on the small model's device, whatever is loaded."""

    def have(size):
        monkeypatch.setattr(comfy.model_management, "current_loaded_models", [])
        weights = models["eps"].model_size()
        monkeypatch.setattr(type(models["eps"]), "get_free_memory", lambda self, device: size + weights)

    return have


@pytest.fixture
def asked(monkeypatch):
    """Bytes that the host was asked to reserve, run by run."""
    sizes, load = [], comfy.model_management.load_models_gpu

    def record(models, memory_required=0, *args, **kwargs):
        sizes.append(memory_required)
        return load(models, memory_required, *args, **kwargs)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", record)
    return sizes


def stable_diffusion(monkeypatch, model):
    """The small model's bill as that of SD 1.5 in half precision on a CUDA device."""
    monkeypatch.setattr(comfy.model_management, "xformers_enabled", lambda: True)
    monkeypatch.setattr(model.model, "get_dtype_inference", lambda: torch.float16)
    monkeypatch.setattr(model.model, "memory_usage_factor", 1.0)


WIDTHS = (3072, 12288, 32768)


@pytest.mark.parametrize("how", ["sampler", "apply windows"])
@pytest.mark.parametrize("free", [1, 4, 100])
def test_canvases_of_every_length_ask_for_the_same(
    how, free, small, models, windows, panorama, ksampler, run_node, room, asked, monkeypatch
):
    """512x3072 against 512x12288 and 512x32768, windows of 512 px every 128; the model itself is not run."""
    model, layout = models["eps"].clone(), windows(512, 128, height=512)
    stable_diffusion(monkeypatch, model)
    room(free * GB)
    found = []

    def run(width):
        inputs = {"latent_image": small.empty_latent(width, 512), "steps": 1}
        if how == "sampler":
            panorama(stopping(model), layout, **inputs)
        applied = run_node("SyncDiffusionApplyWindows", model=stopping(model), windows=layout)[0]
        ksampler(applied, **inputs)

    for width in WIDTHS:
        asked.clear()
        with pytest.raises(Stopped):
            run(width)
        found.append(asked[0])
    assert max(found) <= 1.05 * min(found)


class Stopped(Exception):
    """A run that has asked for memory, before its first call of the model."""


def stopping(model):
    from comfy.patcher_extension import WrappersMP

    def stop(executor, x, *args, **kwargs):
        raise Stopped

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", stop)
    return clone


@pytest.mark.parametrize("samples", [1, 2])
def test_no_more_than_half_as_much_again_as_one_batch(samples, models, memory, room, monkeypatch):
    """And no less: any number of windows, any memory."""
    stable_diffusion(monkeypatch, models["eps"])
    model = models["eps"].model
    for free in (0.1, 0.6, 1.3, 2.5, 8, 100):
        room(free * GB)
        for count in (*range(1, 40), 93, 253):
            plan = memory.window_memory(models["eps"], (4, 64, 64), samples, count, 0)
            levelled = -(-count // -(-count // plan.windows))
            batch = model.memory_required([2 * samples * levelled, 4, 64, 64])
            rows = memory.rows_reserving(plan, models["eps"], (4, 64, 64))
            asked = model.memory_required([2 * rows, 4, 64, 64])
            assert batch <= asked <= 1.5 * batch


def test_a_window_of_any_size_keeps_the_device_busy_and_no_more(models, memory, room, monkeypatch):
    stable_diffusion(monkeypatch, models["eps"])
    room(100 * GB)
    sizes = {cells: memory.window_memory(models["eps"], (4, cells, cells), 1, 99, 0).windows for cells in (16, 64, 128)}
    assert sizes == {16: 8, 64: 8, 128: 2}
    assert memory.window_memory(models["eps"], (4, 64, 64), 2, 99, 0).windows == 4
    assert memory.window_memory(models["eps"], (4, 64, 64), 1, 99, 40).windows == 40  # the user's wish


def test_less_memory_takes_fewer_windows(models, memory, room, monkeypatch):
    stable_diffusion(monkeypatch, models["eps"])
    one = models["eps"].model.memory_required([2, 4, 64, 64]) * memory.HEADROOM
    for fits in (0, 1, 3, 5):
        room(one * (fits + 0.5))
        assert memory.window_memory(models["eps"], (4, 64, 64), 1, 99, 0).windows == max(fits, 1)


def test_guided_passes_are_reserved_for(models, memory, room, vae, perceptual, module_of, monkeypatch):
    """Through the model more than forward only, both more than no guidance; and the larger stage counts alone."""
    stable_diffusion(monkeypatch, models["eps"])
    room(100 * GB)
    kinds, savings = memory.Gradient, module_of("host.run.savings").Savings()
    plans = {
        kind: memory.window_memory(
            models["eps"],
            (4, 64, 64),
            1,
            21,
            0,
            SimpleNamespace(gradient=kind, vae=vae, perceptual=perceptual, savings=savings),
        )
        for kind in (kinds.THROUGH_MODEL, kinds.FORWARD_ONLY)
    }
    through, forward = plans[kinds.THROUGH_MODEL], plans[kinds.FORWARD_ONLY]
    plain = memory.window_memory(models["eps"], (4, 64, 64), 1, 21, 0)
    assert (through.pulled, through.decoded, forward.pulled, plain.decoded) == (2, 1, 0, 0)
    assert through.reserved >= forward.reserved > plain.reserved
    assert not through.recompute_model
    room(0.3 * GB)
    tight = memory.window_memory(
        models["eps"],
        (4, 64, 64),
        1,
        21,
        0,
        SimpleNamespace(gradient=kinds.THROUGH_MODEL, vae=vae, perceptual=perceptual, savings=savings),
    )
    assert tight.recompute_model
    assert tight.recompute_decoder
    assert tight.pulled == tight.decoded == 1


def test_the_estimate_is_shown_under_the_node(models, panorama, windows, guidance, host):
    host.server.events.clear()
    panorama(models["eps"], windows(64, 64), guidance=guidance(end_percent=1.0), steps=1)
    shown = [data for _, data in host.server.events if isinstance(data, bytes) and b"MB" in data]
    assert len(shown) == 1
    assert b"3 windows a call, 3 a pass back through the model, 3 a pass back through the VAE" in shown[0]
