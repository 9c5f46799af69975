"""Out of memory at any call of any network: the same picture from smaller batches, or an error that says what to do."""

import random
import re

import comfy.model_management
import pytest
import torch
from faulty import Fault, faulty, first_convolution

from bench.campaign.control import alive

ADVICE = re.compile(r"\n.*\b(use|take|choose|close|smaller|lower)\b", re.IGNORECASE)
STEPS, WIDTH = 2, 128  # three windows of 64 px
pytestmark = pytest.mark.usefixtures("living_models")


@pytest.fixture
def hint(run_node, small):
    """CONDITIONING with a ControlNet, and its network; kind: plain, or vae for one whose hint is encoded."""

    def make(kind, vae):
        net = small.control_net(kind)
        picture = torch.rand(1, 64, WIDTH, 3, generator=torch.manual_seed(1))
        roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
        outs = run_node("ControlNetApplyAdvanced", **roles, control_net=net, image=picture, vae=vae)
        return dict(zip(roles, outs, strict=True)), net.control_model

    return make


@pytest.fixture
def runs(panorama, windows, guidance, run_node, models, vae, perceptual, small, hint):
    """By name: (a run that gives tensors, the networks that it calls)."""
    model, look, decoder = models["eps"], first_convolution(perceptual.network), vae.first_stage_model.decoder
    unet, encoder = model.model.diffusion_model, vae.first_stage_model.encoder
    layout, canvas = windows(64, 32), small.empty_latent(WIDTH, 64)
    picture = torch.rand(2, 64, WIDTH, 3, generator=torch.manual_seed(4))

    def sampled(guide=None, **inputs):
        extra = {} if guide is None else {"guidance": guidance(weight=200.0, end_percent=1.0, **guide)}
        return lambda: panorama(model, layout, steps=STEPS, latent_image=canvas, **extra, **inputs)[0]["samples"]

    def controlled(kind):
        conds, network = hint(kind, vae)
        return sampled(**conds), network

    def bootstrapped():
        box = {"bboxes": {"x": 40, "y": 16, "width": 60, "height": 40}, "width": WIDTH, "height": 64}
        region = {"conditioning": small.conditioning(1), "region": small.conditioning(5), "vae": vae, "bootstrap": 1.0}
        return sampled(positive=run_node("SyncDiffusionRegionPrompts", **region, **box)[0])()

    def coherence():
        inputs = {"image": picture, "perceptual_model": perceptual, "window_size": 64}
        return torch.tensor(run_node("SyncDiffusionCoherence", **inputs)[0])

    def spectrum():
        made = run_node("SyncDiffusionLatentSpectrum", name="", images=picture, model=model, vae=vae, window_size=64)
        return torch.tensor([*made[0].scale, *made[0].bend])

    def applied():
        patched = run_node("SyncDiffusionApplyWindows", model=model, windows=layout)[0]
        inputs = {"positive": small.conditioning(1), "negative": small.conditioning(2), "cfg": 4.0, "seed": 3}
        given = {"latent_image": canvas, "steps": STEPS, "denoise": 1.0}
        schedule = {"sampler_name": "euler", "scheduler": "normal"}
        return run_node("KSampler", model=patched, **inputs, **given, **schedule)[0]["samples"]

    reference = {"anchor": "reference image", "anchor_image": picture[:1, :, :64]}
    plain, vae_hint = controlled("plain"), controlled("vae")
    return {
        "windows": (sampled(), (unet,)),
        "apply windows": (applied, (unet,)),
        "sequential": (sampled(algorithm="sequential (Blended Latent Diffusion)"), (unet,)),
        "guided model": (sampled({}), (unet,)),
        "guided decoder": (sampled({}), (decoder,)),
        "guided features": (sampled({}), (look,)),
        "mean anchor's decoder": (sampled({"anchor": "mean of all windows"}), (decoder,)),
        "mean anchor's features": (sampled({"anchor": "mean of all windows"}), (look,)),
        "anchor picture's features": (sampled(reference), (look,)),
        "forward only": (sampled({"gradient": "forward only"}), (unet, decoder, look)),
        "balanced": (sampled({"preset": "balanced"}), (unet, decoder, look)),
        "host sampler": (sampled({}, sampler_name="dpmpp_2m"), (unet, decoder, look)),
        "ControlNet": (plain[0], (plain[1],)),
        "hint": (vae_hint[0], (encoder,)),
        "backdrop": (bootstrapped, (encoder,)),
        "coherence": (coherence, (look,)),
        "spectrum": (spectrum, (encoder,)),
    }


NAMES = (
    "windows",
    "apply windows",
    "sequential",
    "guided model",
    "guided decoder",
    "guided features",
    "mean anchor's decoder",
    "mean anchor's features",
    "anchor picture's features",
    "forward only",
    "balanced",
    "host sampler",
    "ControlNet",
    "hint",
    "backdrop",
    "coherence",
    "spectrum",
)


def moments(count):
    """Numbers of calls: the first, the last, and some between."""
    return sorted({0, 1, count // 3, 2 * count // 3, count - 1} & set(range(count)))


def outcome(run, fault, networks):
    """(words of the error, None) where memory was missing for good, else ("", what the run gave)."""
    with faulty(fault, *networks):
        try:
            return "", run()
        except torch.OutOfMemoryError as error:
            return str(error), None


@pytest.mark.parametrize("name", NAMES)
def test_any_call_may_run_out_of_memory(name, runs):
    run, networks = runs[name]
    counter = Fault()
    with faulty(counter, *networks):
        wanted = run()
    assert counter.calls, "the network is not asked"
    for at in moments(counter.calls):
        words, result = outcome(run, Fault(at), networks)
        if result is None:
            assert ADVICE.search(words), f"call {at} of {counter.calls}: {words}"
        else:
            assert (result - wanted).abs().max() <= 1e-4 * wanted.abs().max(), f"call {at} of {counter.calls}"
    assert torch.equal(run(), wanted), "a run after those is another"


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupt_at_any_call_leaves_nothing(name, runs):
    run, networks = runs[name]
    counter = Fault()
    with faulty(counter, *networks):
        wanted = run()
    run()
    before, stopped = alive(), 0
    for at in random.Random(name).sample(range(counter.calls), min(3, counter.calls)):
        with faulty(Fault(at, stop=True), *networks):
            try:
                result = run()
            except comfy.model_management.InterruptProcessingException:
                stopped += 1
            else:  # it was the last thing to do
                assert torch.equal(result, wanted)
                del result
    assert torch.equal(run(), wanted), "a run after those is another"
    count, size = alive()
    assert count <= before[0] + 2
    assert size <= before[1] + 2**15
    assert stopped or counter.calls < 3
