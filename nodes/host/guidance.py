"""Guidance as the nodes describe it, and as the core runs it on the host."""

from dataclasses import dataclass

from torch import Tensor

from ...syncdiffusion_core.anchors import Anchor
from ...syncdiffusion_core.denoiser import Denoiser
from ...syncdiffusion_core.guidance import PerceptualGuidance
from ...syncdiffusion_core.process import NoiseProcess
from ...syncdiffusion_core.pullbacks import Gradient
from ...syncdiffusion_core.schedule import GuidanceSchedule
from .gradients import has_backward, normal_tensor, outside_inference
from .perceptual import PerceptualModel


@dataclass(frozen=True)
class GuidanceSettings:
    """Perceptual guidance as a user gives it.

    vae: the host's VAE. max_move: see PerceptualGuidance. mask: where it acts, a MASK [B, H, W] of any size, B samples
    or 1; None for everywhere.
    """

    vae: object
    perceptual: PerceptualModel
    schedule: GuidanceSchedule
    anchor: Anchor
    gradient: Gradient
    max_move: float | None
    mask: Tensor | None = None


class HostGuidance:
    """The core's guidance from inside the host: outside inference mode, on tensors that autograd may save."""

    def __init__(self, guidance: PerceptualGuidance) -> None:
        self._guidance = guidance

    def guides(self, step: int) -> bool:
        """Whether the step moves anything."""
        return self._guidance.guides(step)

    def __call__(
        self, views: Tensor, step: int, sigma: float, n_samples: int, denoiser: Denoiser, process: NoiseProcess
    ) -> Tensor:
        """See PerceptualGuidance."""
        if not self.guides(step):
            return views
        with outside_inference():
            return self._guidance(normal_tensor(views), step, sigma, n_samples, denoiser, process)


def missing_backward(patcher: object) -> str | None:
    """Why a model has no backward pass here, None where it has one."""
    if patcher.is_dynamic():
        return "its weights are streamed (dynamic VRAM)"
    if not has_backward(patcher.model):
        return "its weights are quantised"
    return None
