"""The gradient through the model: right where the host's network has one, else forward only, and said so."""

import comfy.model_management
import comfy.sd
import pytest
import small_families
import small_networks
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import set_torch_compile_wrapper
from test_untouched import grew, tensors


def same(one, other):
    """Up to rounding, which depends on where tensors lie in memory, and which a finite difference amplifies."""
    assert (one - other).abs().max() <= 1e-4 * other.abs().max()


@pytest.fixture
def gradients(module_of):
    """The pack's module that leaves inference mode."""
    return module_of("host.gradient.gradients")


@pytest.fixture
def missing_backward(module_of):
    return module_of("host.run.settings").missing_backward


def said(host):
    """Lines under the node about another gradient than asked for."""
    return [data for _, data in host.server.events if isinstance(data, bytes) and b"gradient: forward only" in data]


@pytest.mark.parametrize("name", small_families.DIFFERENTIABLE)
def test_the_gradient_is_the_derivative(name, of, gradients):
    """<J^T g, d> against a central difference of <g, x0(x + h d)>, with CFG, in float32."""
    bench = of(name)
    base, x0 = bench.model.model, bench.predictor()
    shape = bench.family.latent(64, 64)["samples"].shape
    x, g, d = (torch.randn(shape, generator=torch.manual_seed(seed)) for seed in (1, 2, 3))
    with gradients.outside_inference(), torch.enable_grad(), torch.autograd.graph.allow_mutation_on_saved_tensors():
        leaf = x.clone().requires_grad_(True)
        predicted = gradients.differentiable_call(base, x0, leaf)
        (pulled,) = torch.autograd.grad(predicted, leaf, g)
    h = 0.02
    with torch.inference_mode():
        difference = ((x0(x + h * d) - x0(x - h * d)) * g).sum() / (2 * h)
    assert (pulled * d).sum().item() == pytest.approx(difference.item(), rel=0.03, abs=0.03 * pulled.norm().item())


def test_a_network_that_changes_its_activations_is_copied_from_then_on(of, windows, host):
    """Flux adds to its tokens in place; two tries at the first guided batch, one at each later."""
    bench, tries = of("Flux"), []
    bench.model = bench.model.clone()
    bench.model.set_model_unet_function_wrapper(
        lambda apply, args: tries.append(torch.is_grad_enabled()) or apply(args["input"], args["timestep"], **args["c"])
    )
    bench.run(windows(64, 64), guidance=bench.guidance(), windows_per_batch=1)
    assert not said(host)
    assert sum(tries) == 1 + 2 * small_families.STEPS  # two windows move beside the anchor


@pytest.mark.usefixtures("living_models")
def test_the_try_that_failed_leaves_nothing(of, windows):
    """Its graph ends early, in the middle of what was saved: 687 kB a run here, 9 GB of the real Flux on a GPU."""
    bench, layout = of("Flux"), windows(64, 64)
    bench.run(layout, guidance=bench.guidance())
    before = tensors()
    for _ in range(2):
        bench.run(layout, guidance=bench.guidance())
    assert not grew(before)


def test_weights_in_fp8_have_a_gradient(windows, of, host):
    """The host casts them to the computation's type, layer by layer."""
    bench = of("Wan")
    with torch.inference_mode():
        weights = {name: tensor.clone() for name, tensor in bench.model.model.diffusion_model.state_dict().items()}
        cpu = torch.device("cpu")
        options = {"dtype": torch.float8_e4m3fn, "load_device": cpu, "offload_device": cpu}
        bench.model = comfy.sd.load_diffusion_model_state_dict(weights, model_options=options)
    assert bench.model.model.diffusion_model.blocks[0].ffn[0].weight.dtype is torch.float8_e4m3fn
    plain = bench.run(windows(64, 64))[0]
    guided = bench.run(windows(64, 64), guidance=bench.guidance())[0]
    assert not said(host)
    assert bench.intra(guided) < 0.95 * bench.intra(plain)


@torch.inference_mode()
def quantised():
    """Wan with scaled fp8 weights, as its checkpoints come: the host loads them as quantised tensors."""
    network = small_networks.wan().model.diffusion_model
    weights = {}
    for name, tensor in network.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer != name and layer.startswith("blocks.") and tensor.ndim == 2:
            scale = tensor.abs().max() / 448
            weights[f"{layer}.scale_weight"], tensor = scale, (tensor / scale).to(torch.float8_e4m3fn)
        weights[name] = tensor.clone()
    weights["scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    return comfy.sd.load_diffusion_model_state_dict(weights)


def test_quantised_weights_are_guided_forward_only(windows, of, host):
    bench = of("Wan")
    bench.model = quantised()
    plain = bench.run(windows(64, 64))[0]
    guided = bench.run(windows(64, 64), guidance=bench.guidance())[0]
    assert b"its weights are quantised" in said(host)[0]
    asked = bench.samples(windows(64, 64), guidance=bench.guidance(gradient="forward only"))
    same(guided["samples"], asked)
    assert bench.intra(guided) < bench.intra(plain)


def test_a_compiled_model_is_guided_forward_only(windows, of, host):
    bench = of("Wan")
    model = bench.model.clone()
    # As the host's TorchCompileModel, but for a part of the network and without a compiler.
    set_torch_compile_wrapper(model=model, backend="eager", keys=["diffusion_model.time_projection"])
    bench.model = model
    guided = bench.samples(windows(64, 64), guidance=bench.guidance(), steps=1)
    assert b"it is compiled" in said(host)[0]
    asked = of("Wan").samples(windows(64, 64), guidance=bench.guidance(gradient="forward only"), steps=1)
    assert (guided - asked).abs().max() <= 1e-4 * asked.abs().max()


def test_reasons_without_a_run(of, missing_backward, monkeypatch):
    """A module swapped for a compiled one, as other packs do; attention without a backward pass."""
    model = of("SD3").model.clone()
    assert missing_backward(model) is None
    with monkeypatch.context() as patch:
        patch.setattr(comfy.model_management, "sage_attention_enabled", lambda: True)
        assert "Sage attention" in missing_backward(model)
    block = model.model.diffusion_model.joint_blocks[0]
    with monkeypatch.context() as patch:
        patch.setitem(model.model.diffusion_model.joint_blocks._modules, "0", torch.compile(block, backend="eager"))
        assert "compiled" in missing_backward(model)
    assert missing_backward(model) is None


def test_a_backward_that_fails_in_the_run_is_said(of, windows, host, caplog):
    """HiDream-O1's blocks write into their inputs with out=, which torch cannot differentiate."""
    bench = of("HiDream-O1")
    guided = bench.samples(windows(64, 64), guidance=bench.guidance())
    (line,) = said(host)
    assert b"don't support automatic differentiation" in line
    assert "don't support automatic differentiation" in caplog.text
    asked = bench.samples(windows(64, 64), guidance=bench.guidance(gradient="forward only"))
    same(guided, asked)
    assert (guided - bench.samples(windows(64, 64))).abs().max() > 1e-2 * asked.abs().max()


@pytest.mark.parametrize("error", [KeyError, comfy.model_management.InterruptProcessingException])
def test_a_guided_pass_that_is_broken_off_leaves_the_hosts_switches(error, of, windows):
    """An error in the network, or the artist's own cancel, inside the call that gradients run through."""
    bench, modes = of("Flux"), []
    bench.model = bench.model.clone()

    def broken(network, *args, **kwargs):
        if torch.is_grad_enabled():
            modes.append(comfy.model_management.in_training)
            raise error
        return network(*args, **kwargs)

    bench.model.add_wrapper(WrappersMP.DIFFUSION_MODEL, broken)
    with pytest.raises(error):
        bench.run(windows(64, 64), guidance=bench.guidance())
    assert modes == [True]
    assert comfy.model_management.in_training is False
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
