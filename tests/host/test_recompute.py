"""Backward passes that recompute: the same gradients, fewer bytes kept, and weights that do not last."""

from contextlib import nullcontext

import comfy.model_management
import comfy.ops
import pytest
import small_families
import small_vaes
import torch
from torch.autograd.graph import allow_mutation_on_saved_tensors

from bench.meter import LiveTensors


@pytest.fixture
def recompute(module_of):
    return module_of("host.gradient.recompute")


@pytest.fixture
def gradients(module_of):
    return module_of("host.gradient.gradients")


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


@pytest.mark.parametrize(("name", "most"), [("kl_vae_4", 0.65), ("wan_vae", 0.45)])
def test_decoders_take_less_at_their_peak(name, most, recompute, gradients):
    """The host's Wan VAE is never called itself, and hands its blocks lists to write into."""
    module, x = getattr(small_vaes, name)().first_stage_model, torch.randn(16 * 32 * 32, generator=torch.manual_seed(1))
    x = x[: 4 * 32 * 32].view(1, 4, 32, 32) if name == "kl_vae_4" else x.view(1, 16, 1, 32, 32)
    with LiveTensors() as plain:
        wanted, _ = pulled(gradients, module, module.decode, x, nullcontext())
    with LiveTensors() as again:
        got, _ = pulled(gradients, module, module.decode, x, recompute.recomputing(module))
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))
    assert again.peak < most * plain.peak


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
    """streaming(network): each call of a layer gets copies of its weights; those of the call before become NaN.

    They last where gradients are off: the host's fused kernels are given the weights of several layers at once.
    """
    lent, plain = [], comfy.ops.cast_bias_weight

    def fetch(layer, x=None, *args, offloadable=False, **kwargs):
        if not hasattr(layer, "_v"):
            return plain(layer, x, *args, offloadable=offloadable, **kwargs)
        with torch.no_grad():
            for old in lent if comfy.model_management.in_training else ():
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


WRITE_INTO_INPUTS = ("Flux", "Flux.2", "Chroma Radiance")
"""Families whose blocks do: a plain backward pass must notice."""


def pulled_through(bench, gradients, around, saved):
    """The pull of a fixed gradient through a family's model with CFG; ``around`` its forward pass, ``saved`` all."""
    x0, shape = bench.predictor(), bench.family.latent(64, 64)["samples"].shape
    x, g = (torch.randn(shape, generator=torch.manual_seed(seed)) for seed in (1, 2))
    with gradients.outside_inference(), torch.enable_grad(), saved():
        leaf = x.clone().requires_grad_(True)
        with around:
            predicted = gradients.differentiable_call(bench.model.model, x0, leaf)
        return torch.autograd.grad(predicted, leaf, g)[0]


@pytest.mark.parametrize("name", small_families.DIFFERENTIABLE)
def test_every_family_has_the_same_gradient_when_it_is_recomputed(name, of, recompute, gradients):
    bench = of(name)
    network = bench.model.model.diffusion_model
    wanted = pulled_through(bench, gradients, nullcontext(), allow_mutation_on_saved_tensors)
    for saved in (nullcontext, allow_mutation_on_saved_tensors):
        if saved is nullcontext and name in WRITE_INTO_INPUTS:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                pulled_through(bench, gradients, recompute.recomputing(network), saved)
        else:
            again = pulled_through(bench, gradients, recompute.recomputing(network), saved)
            assert (again - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.fixture
def no_room(module_of, monkeypatch):
    """no_room() -> the plans of the runs from then on, in which not even one window's activations fit."""
    memory, plans = module_of("host.run.memory"), []
    plan = memory.window_memory

    def tight(*args):
        plans.append(plan(*args))
        return plans[-1]

    def start():
        monkeypatch.setattr(memory, "_room", lambda *args: 0)
        monkeypatch.setattr(module_of("host.run.resolved"), "window_memory", tight)
        return plans

    return start


def said_forward_only(host):
    return any(isinstance(data, bytes) and b"gradient: forward only" in data for _, data in host.server.events)


@pytest.mark.parametrize("blocks", [False, True], ids=["layers", "blocks and layers"])
@pytest.mark.parametrize("name", small_families.DIFFERENTIABLE)
def test_a_streamed_model_is_guided_through(name, blocks, of, windows, streaming, no_room, host):
    """A patcher of dynamic VRAM, as far as a CPU can show: weights that do not outlast their layer's call."""
    bench = of(name)
    inputs = {"guidance": bench.guidance(), "steps": 1, "windows_per_batch": 1}
    wanted = bench.samples(windows(64, 64), **inputs)

    class Streamed(type(bench.model)):
        def is_dynamic(self):
            return True

    bench.model = bench.model.clone()
    bench.model.__class__ = Streamed
    streaming(bench.model.model.diffusion_model)
    plans = no_room() if blocks else []
    host.server.events.clear()
    got = bench.samples(windows(64, 64), **inputs)
    assert not said_forward_only(host)
    assert all(plan.recompute_model for plan in plans)
    assert len(plans) == blocks
    assert (got - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_a_network_that_does_not_repeat_itself_goes_forward_only(models, panorama, windows, guidance, no_room, host):
    """A patch with a memory: no gradient is better than a wrong one."""
    model, calls = models["eps"].clone(), []

    def growing(out, options):
        calls.append(torch.is_grad_enabled())
        for _ in range(len(calls)):
            out = out.exp().log()
        return out

    model.set_model_attn1_output_patch(growing)
    no_room()
    host.server.events.clear()
    panorama(model, windows(64, 64), guidance=guidance(end_percent=1.0), steps=1)
    assert any(b"did something else when it was run again" in data for _, data in host.server.events if data)
    assert any(calls)


@pytest.mark.parametrize("name", ["SD 1.5", "Flux", "PixelDiT"])
def test_a_guided_run_that_recomputes_is_the_same(name, of, windows, no_room, host):
    """Also of networks that write into their blocks' inputs, or into what a block has saved."""
    bench = of(name)
    inputs = {"guidance": bench.guidance(), "steps": 2, "windows_per_batch": 1}
    wanted, plans = bench.samples(windows(64, 64), **inputs), no_room()
    host.server.events.clear()
    got = bench.samples(windows(64, 64), **inputs)
    assert plans[0].recompute_model
    assert plans[0].recompute_decoder
    assert not said_forward_only(host)
    assert (got - wanted).abs().max() <= 1e-4 * wanted.abs().max()
