"""What transformers are given beside text: reference pictures and ControlNets, to each window its own part."""

import comfy.controlnet
import comfy.ldm.flux.controlnet
import comfy.model_management
import pytest
import small_networks
import torch
from small_models import randomise


def agree(one, other):
    assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def noise_of(bench):
    return torch.randn(bench.family.latent(192, 64)["samples"].shape, generator=torch.manual_seed(3))


def picture(bench, width_px, seed):
    size = bench.family.latent(width_px, 64)["samples"].shape
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["Flux", "Flux.2", "Z-Image", "Qwen-Image"])
def test_reference_latents(name, of, windows, run_node):
    """One of the canvas's size is cut with the window; another is passed whole, by the host's own node."""
    bench = of(name)
    canvas, small = picture(bench, 192, 8), picture(bench, 32, 9)

    def conds(cut=lambda latent: latent):
        cond = bench.family.conditioning(1)
        for latent in (cut(canvas), small):
            cond = run_node("ReferenceLatent", conditioning=cond, latent={"samples": latent})[0]
        return {"positive": cond}

    cells = 64 // bench.family.cell_px
    parts = bench.samples(windows(64, 64), **conds()).split(cells, dim=-1)
    for index, part in enumerate(parts):
        span = slice(index * cells, (index + 1) * cells)
        noise = noise_of(bench)[..., span].clone()
        agree(part, bench.stock_from(noise, **conds(lambda latent, span=span: latent[..., span])))
    assert not torch.allclose(parts[0], bench.samples(windows(64, 64))[..., :cells], atol=1e-4)


@pytest.mark.parametrize("name", ["Flux", "Qwen-Image"])
def test_guidance_with_reference_latents(name, of, windows):
    bench = of(name)
    positive = bench.family.conditioning(1, reference_latents=[picture(bench, 192, 8)])
    plain = bench.run(windows(64, 64), positive=positive)[0]
    guided = bench.run(windows(64, 64), positive=positive, guidance=bench.guidance())[0]
    assert bench.intra(guided) < 0.95 * bench.intra(plain)


class SeesHint(torch.nn.Module):
    """A control network of few lines for a transformer: a hint's patches are added to the tokens after its blocks."""

    def __init__(self, width, place):
        super().__init__()
        self.linear, self.place, self.dtype = torch.nn.Linear(3, width), place, torch.float32

    def forward(self, x, hint, timesteps, context, **kwargs):
        size = (x.shape[-2] // 2, x.shape[-1] // 2)
        pooled = torch.nn.functional.adaptive_avg_pool2d(hint, size).flatten(2).movedim(1, -1)  # [R, L, 3]
        return {self.place: [self.linear(pooled)]}


@torch.inference_mode()
def control_net(name):
    """A CONTROL_NET with random weights; Flux's own network, through the host's loader."""
    if name == "Flux":
        network = comfy.ldm.flux.controlnet.ControlNetFlux(**small_networks.FLUX, operations=small_networks.OPS)
        randomise(network, 24)
        return comfy.controlnet.load_controlnet_flux_xlabs_mistoline(network.state_dict())
    network = SeesHint({"SD3": 128, "Qwen-Image": 64}[name], {"SD3": "output", "Qwen-Image": "input"}[name])
    randomise(network, 24)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


CONTROLLED = pytest.mark.parametrize("name", ["Flux", "SD3", "Qwen-Image"])


@pytest.fixture
def controlled(run_node):
    """controlled(bench, image) -> both roles behind the host's own node."""

    def make(bench, net, image):
        roles = {"positive": bench.family.conditioning(1), "negative": bench.family.conditioning(2)}
        outs = run_node("ControlNetApplyAdvanced", **roles, control_net=net, image=image, strength=1.0)
        return dict(zip(roles, outs, strict=True))

    return make


def ramp():
    return torch.linspace(0, 1, 192)[None, None, :, None].repeat(1, 64, 1, 3)


@CONTROLLED
def test_a_window_sees_its_slice_of_a_hint(name, of, windows, controlled):
    bench, net = of(name), control_net(name)
    parts = bench.samples(windows(64, 64), **controlled(bench, net, ramp())).split(8, dim=-1)
    for index, part in enumerate(parts):
        noise, image = (
            noise_of(bench)[..., 8 * index : 8 * index + 8].clone(),
            ramp()[:, :, 64 * index : 64 * index + 64],
        )
        agree(part, bench.stock_from(noise, **controlled(bench, net, image)))


@CONTROLLED
def test_guidance_through_a_control(name, of, windows, controlled, host):
    """The host adds its residuals in place, to activations that autograd has saved."""
    bench = of(name)
    conds = controlled(bench, control_net(name), ramp())
    plain = bench.run(windows(64, 64), **conds)[0]
    guided = bench.run(windows(64, 64), guidance=bench.guidance(), **conds)[0]
    said = [data for _, data in host.server.events if isinstance(data, bytes) and b"forward only" in data]
    assert not said
    assert bench.intra(guided) < 0.95 * bench.intra(plain)
