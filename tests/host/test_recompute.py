"""Backward passes that recompute: the same gradients, fewer bytes kept, and weights that do not last."""

from contextlib import nullcontext

import comfy.ops
import pytest
import torch


@pytest.fixture
def recompute(module_of):
    return module_of("host.recompute")


@pytest.fixture
def gradients(module_of):
    return module_of("host.gradients")


def kept_bytes(run):
    """(result of run(), bytes that autograd saves in it, each storage once)."""
    seen = {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        return run(), sum(seen.values())


def pulled(gradients, module, call, x, around):
    """(gradient of a fixed functional of call(x), bytes kept for it); the backward pass comes after ``around``."""
    with gradients.outside_inference(), torch.enable_grad():
        leaf = x.clone().requires_grad_(True)

        def forward():
            with around:
                return gradients.differentiable_call(module, call, leaf)

        out, kept = kept_bytes(forward)
        weight = torch.linspace(-1, 1, out.numel()).view_as(out)
        (gradient,) = torch.autograd.grad(out, leaf, weight)
    return gradient, kept


def of_unet(model):
    """(the small UNet's module, a call of it in x [2, 4, 16, 16])."""
    network = model.model.diffusion_model
    context = torch.randn(2, 8, 32, generator=torch.manual_seed(2))
    levels = torch.tensor([700.0, 300.0])

    def call(x):
        options = {"transformer_index": 0, "block_index": 0, "original_shape": list(x.shape)}
        return network(x, levels, context=context, transformer_options=options)

    return network, call


X = torch.randn(2, 4, 16, 16, generator=torch.manual_seed(1))


@pytest.mark.parametrize("which", ["unet", "vae"])
def test_recomputed_gradients_are_the_same_for_a_fraction_of_the_bytes(which, models, vae, recompute, gradients):
    module, call = of_unet(models["eps"]) if which == "unet" else (vae.first_stage_model, vae.first_stage_model.decode)
    before = {name: id(part.forward.__func__) for name, part in module.named_modules()}
    plain, kept = pulled(gradients, module, call, X, nullcontext())
    again, less = pulled(gradients, module, call, X, recompute.recomputing(module))
    torch.testing.assert_close(again, plain, rtol=1e-6, atol=1e-6 * float(plain.abs().max()))
    assert less < 0.5 * kept
    assert {name: id(part.forward.__func__) for name, part in module.named_modules()} == before
    assert not any("forward" in vars(part) for part in module.modules())


def test_a_failing_call_leaves_the_networks_forwards_alone(models, recompute):
    network, _ = of_unet(models["eps"])
    with torch.enable_grad(), pytest.raises(RuntimeError, match="stop"), recompute.recomputing(network):
        raise RuntimeError("stop")
    assert not any("forward" in vars(part) for part in network.modules())


@pytest.mark.parametrize("family", ["SD3", "Flux", "Lumina2", "Qwen-Image"])
def test_transformers_have_blocks_too(family, of, recompute):
    network = of(family).model.model.diffusion_model
    lists = [part for part in network.children() if isinstance(part, torch.nn.ModuleList)]
    blocks = list(recompute.blocks_of(network))
    assert blocks
    assert all(block in blocks for part in lists for block in part if next(block.children(), None) is not None)


@pytest.fixture
def streaming(monkeypatch):
    """streaming(network): each call of a layer gets copies of its weights; those of the call before become NaN."""
    lent = []

    def fetch(layer, x=None, *args, offloadable=False, **kwargs):
        with torch.no_grad():
            for old in lent:
                old.data.fill_(float("nan"))  # past autograd's version counter, as a copy on another stream is
            fresh = [None if p is None else p.detach().clone() for p in (layer.weight, layer.bias)]
        lent[:] = [copy for copy in fresh if copy is not None]
        return (*fresh, None) if offloadable else tuple(fresh)

    def stream(network):
        monkeypatch.setattr(comfy.ops, "cast_bias_weight", fetch)
        for layer in network.modules():
            if isinstance(layer, comfy.ops.CastWeightBiasOp):
                monkeypatch.setattr(layer, "comfy_cast_weights", True, raising=False)
                monkeypatch.setattr(layer, "_v", object(), raising=False)  # the host's mark

    return stream


@pytest.mark.parametrize("blocks", [False, True], ids=["layers", "blocks and layers"])
def test_weights_that_are_gone_after_each_call_are_fetched_again(blocks, models, recompute, gradients, streaming):
    network, call = of_unet(models["eps"])
    wanted, _ = pulled(gradients, network, call, X, nullcontext())
    streaming(network)
    spoiled, _ = pulled(gradients, network, call, X, nullcontext())
    assert spoiled.isnan().any(), "the simulation spoils nothing"
    got, _ = pulled(gradients, network, call, X, recompute.recomputing(network, blocks=blocks))
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))


@pytest.mark.parametrize("blocks", [False, True], ids=["layers", "blocks and layers"])
def test_a_streamed_model_is_guided_through(
    blocks, models, panorama, windows, guidance, streaming, module_of, monkeypatch, host
):
    """A patcher of dynamic VRAM, as far as a CPU can show: weights that do not outlast their layer's call."""
    inputs = {"guidance": guidance(weight=200.0, end_percent=1.0), "steps": 2, "windows_per_batch": 1}
    wanted = panorama(models["eps"], windows(64, 64), **inputs)[0]["samples"]

    class Streamed(type(models["eps"])):
        def is_dynamic(self):
            return True

    model = models["eps"].clone()
    model.__class__ = Streamed
    streaming(model.model.diffusion_model)
    if blocks:
        monkeypatch.setattr(module_of("host.memory"), "_room", lambda *args: 0)
    host.server.events.clear()
    got = panorama(model, windows(64, 64), **inputs)[0]["samples"]
    assert not any(isinstance(data, bytes) and b"forward only" in data for _, data in host.server.events)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_a_guided_run_that_recomputes_is_the_same(models, panorama, windows, guidance, module_of, monkeypatch):
    memory = module_of("host.memory")
    inputs = {"guidance": guidance(weight=200.0, end_percent=1.0), "steps": 2, "windows_per_batch": 1}
    wanted = panorama(models["eps"], windows(64, 64), **inputs)[0]["samples"]
    found, plan = [], memory.window_memory

    def tight(*args):
        monkeypatch.setattr(memory, "_room", lambda *args: 0)
        found.append(plan(*args))
        return found[-1]

    monkeypatch.setattr(module_of("host.sampler"), "window_memory", tight)
    got = panorama(models["eps"], windows(64, 64), **inputs)[0]["samples"]
    assert found[0].recompute_model
    assert found[0].recompute_decoder
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
