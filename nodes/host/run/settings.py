"""Guidance as the nodes describe it, and as the core runs it on the host."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import comfy.model_management
from torch import Tensor

from ....syncdiffusion_core.guidance.perceptual import Moved, PerceptualGuidance
from ....syncdiffusion_core.guidance.pullbacks import Gradient, MissingBackward, forward_only
from ....syncdiffusion_core.guidance.spectrum import Spectrum, SpectrumSource
from ....syncdiffusion_core.guidance.targets import Target
from ....syncdiffusion_core.guidance.trace import GuidanceTrace
from ....syncdiffusion_core.moment import Moment
from ....syncdiffusion_core.schedule import GuidanceSchedule
from ..gradient.forgetful import NotRepeated
from ..gradient.gradients import has_backward, is_compiled, normal_tensor, outside_inference
from ..gradient.perceptual import PerceptualModel
from ..progress import say
from .savings import PRESETS, Preset, Savings
from .watching import GuidedSteps


@dataclass(frozen=True)
class GuidanceSettings:
    """Perceptual guidance as a user gives it.

    vae: the host's VAE, None for models of pixels. max_move: see PerceptualGuidance. mask: where it acts, a MASK
    [B, H, W] of any size, B samples or 1; None for everywhere. savings: what of the paper's work is left out.
    spectrum, spectrum_source: what the image prior takes for the spectrum of pictures.
    """

    vae: object | None
    perceptual: PerceptualModel
    schedule: GuidanceSchedule
    target: Target
    gradient: Gradient
    max_move: float | None
    mask: Tensor | None = None
    savings: Savings = PRESETS[Preset.REFERENCE]
    spectrum: Spectrum | None = None
    spectrum_source: SpectrumSource = SpectrumSource.NATURAL

    def describe(self) -> str:
        """One line for people: what the widgets and the savings come to together."""
        schedule, weight = self.savings.over(self.schedule), self.savings.strength * self.schedule.weight
        return (
            f"weight {weight:g} from {schedule.start:.0%} to {schedule.end:.0%} of the schedule; "
            f"{self.gradient.value}; {self.savings.look.value}; windows {self.savings.grid.value}"
        )


class HostGuidance:
    """The core's guidance from inside the host: outside inference mode, on tensors that autograd may save.

    Where the model turns out to have no backward pass, guidance goes on forward only. on_trace: told after each step.
    """

    def __init__(self, guidance: PerceptualGuidance, on_trace: Callable[[GuidanceTrace], None]) -> None:
        self._guidance, self._on_trace = guidance, on_trace
        self._steps = GuidedSteps(guidance.weights)

    def guides(self, step: int) -> bool:
        """Whether the step moves anything."""
        return self._guidance.guides(step)

    def __call__(self, moment: Moment) -> Moved:
        """See PerceptualGuidance."""
        if not self.guides(moment.step):
            return Moved(moment.x)
        self._steps.count(moment.step)
        moment = replace(moment, x=normal_tensor(moment.x), denoiser=moment.denoiser.alone)
        with outside_inference():
            moved = self._moved(moment) or self._moved(moment)
        assert moved is not None
        if moved.trace is not None:
            self._on_trace(moved.trace)
        return moved

    def _moved(self, moment: Moment) -> Moved | None:
        """None where the model has turned out to have no backward pass: the next try goes forward only."""
        try:
            return self._guidance(moment)
        except MissingBackward as error:
            say_forward_only(error.reason)
        self._guidance = replace(self._guidance, pullback=forward_only)
        return None

    def left_out(self) -> str | None:
        """After the last step: a sentence if steps were left out."""
        return self._steps.left_out()


def refusal(streamed: bool, error: RuntimeError) -> str | None:
    """Which errors of a pull through the model, beside torch's own, mean that it has no backward pass here."""
    if isinstance(error, NotRepeated):
        return str(error)
    if "Inference tensors cannot be saved" in str(error):
        return "a node of another pack holds weights of its own that cannot be differentiated in ComfyUI"
    if streamed and not comfy.model_management.is_oom(error):
        return f"its weights are streamed (dynamic VRAM), and {error}".splitlines()[0]
    return None


def missing_backward(patcher: object) -> str | None:
    """Why a model has no backward pass here, None where nothing is known against it."""
    if not has_backward(patcher.model):
        return "its weights are quantised"
    if is_compiled(patcher):
        return "it is compiled"
    if patcher.get_additional_models_with_key("multigpu"):
        return "ComfyUI runs it on several GPUs (MultiGPU CFG Split), where it keeps no gradients"
    if comfy.model_management.sage_attention_enabled():
        return "Sage attention computes no gradients"
    return None


def say_forward_only(reason: str) -> None:
    """Tell the user, under the node and in the log, that another gradient was taken than asked for."""
    line = f"gradient: forward only, because the model has no backward pass here: {reason}"
    logging.warning("SyncDiffusion %s", line)
    say(line)
