"""Memory follows a batch of windows, not the canvas: bytes of live tensors, counted operation by operation."""

import pytest
import torch

from bench.meter import LiveTensors

pytestmark = pytest.mark.usefixtures("living_models")

SHORT, LONG = 2048, 6144  # px: four batches of eight windows, as many as have their hints kept, and twelve


def controlled(run_node, small, width):
    roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
    hint = torch.rand(1, 64, width, 3, generator=torch.manual_seed(1))
    outs = run_node("ControlNetApplyAdvanced", **roles, control_net=small.control_net(), image=hint)
    return dict(zip(roles, outs, strict=True))


@pytest.fixture
def peak(small, models, windows, panorama, run_node):
    """peak(width, **inputs): most bytes alive at once, beside what there was, in a run over a canvas of that width."""

    def of(width, **inputs):
        conds = controlled(run_node, small, width)
        with LiveTensors() as live:
            panorama(
                models["eps"], windows(64, 64), latent_image=small.empty_latent(width, 64), steps=1, **conds, **inputs
            )
        return live.peak

    return of


def latents(width):
    """Bytes of one latent canvas."""
    return 4 * 4 * 8 * width // 8


@pytest.mark.parametrize("gradient", ["through the model", "forward only", None])
def test_a_long_canvas_takes_the_memory_of_a_short_one(gradient, peak, guidance):
    """Guided or not, with a ControlNet; but for latents, of which a run keeps some, and all views in them."""
    guide = {} if gradient is None else {"guidance": guidance(end_percent=1.0, gradient=gradient)}
    short, long = peak(SHORT, **guide), peak(LONG, **guide)
    assert long - short <= 40 * (latents(LONG) - latents(SHORT))
    assert long <= 1.1 * short
