"""A run as the nodes describe it, and what cannot run."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import comfy.k_diffusion.sampling
import comfy.samplers
from torch import Tensor

from ....syncdiffusion_core.canvases.grids import Grid
from ....syncdiffusion_core.canvases.window_layout import WindowLayout
from ....syncdiffusion_core.guidance.trace import GuidanceTrace
from ....syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from .memory import AUTOMATIC
from .savings import PRESETS, Preset
from .settings import GuidanceSettings
from .wrapped import names_in

KSAMPLER_SAMPLE = comfy.samplers.KSAMPLER.sample
"""What runs the function of a sampler: one with another way has a loop of its own."""

KEEPS_NO_MOVE = {
    "sample_unipc": "uni_pc",
    "sample_unipc_bh2": "uni_pc_bh2",
    "sample_sa_solver": "sa_solver",
    "sample_sa_solver_pece": "sa_solver_pece",
    "dpm_adaptive_function": "dpm_adaptive",
    "dpm_fast_function": "dpm_fast",
    "sample_heunpp2": "heunpp2",
}
"""Samplers that drop or invert a move of their state (measured: at most 3 % of it reaches the result), or whose steps
have so many calls, now more and now fewer, that their openings cannot be told."""


class Algorithm(str, Enum):
    """Which loop runs."""

    AUTOMATIC = "automatic"
    REFERENCE = "reference (Algorithm 1)"
    HOST_SAMPLER = "host sampler"
    SEQUENTIAL = "sequential (Blended Latent Diffusion)"


LOOPS = (Algorithm.REFERENCE, Algorithm.SEQUENTIAL)
"""Loops of our own, which make DDIM's steps whatever the sampler's rule."""


@dataclass(frozen=True)
class Plan:
    """One run as the nodes describe it.

    windows_per_batch: 0 for what fits. first_step, total_steps: where the run's sigmas stand in their schedule,
    for weights by step index. on_trace: called after each guided step. synchronisation: what windows agree on.
    """

    layout: WindowLayout
    guidance: GuidanceSettings | None
    inner: comfy.samplers.KSAMPLER
    algorithm: Algorithm = Algorithm.AUTOMATIC
    windows_per_batch: int = AUTOMATIC
    first_step: int = 0
    total_steps: int | None = None
    on_trace: Callable[[GuidanceTrace], None] | None = None
    synchronisation: Synchronisation = Synchronisation.MULTIDIFFUSION

    @property
    def windows(self) -> WindowLayout:
        """The layout under the guidance's savings."""
        return self.layout if self.guidance is None else self.guidance.savings.on(self.layout)

    @property
    def view_px(self) -> tuple[int, int]:
        """(height, width) of what the model is shown."""
        return self.layout.view_px


def refuse_unmovable(plan: Plan) -> None:
    """Raise ValueError for a sampler under which the guidance or the algorithm would be lost."""
    if not isinstance(plan.inner, comfy.samplers.KSAMPLER) or type(plan.inner).sample is not KSAMPLER_SAMPLE:
        raise ValueError(
            f"sampler: {type(plan.inner).__name__} runs a loop of its own that windows cannot enter; use a "
            "sampler from KSamplerSelect"
        )
    guided = plan.guidance is not None and plan.guidance.schedule.weight > 0
    if guided:
        refuse_lost_moves(plan.inner)
    refuse_other_loops(plan.algorithm, plan.inner)
    refuse_other_samplers(plan.synchronisation, plan.inner, Synchronisation.MULTIDIFFUSION)
    _refuse_other_synchronisation(plan)
    if plan.algorithm is Algorithm.REFERENCE and guided and plan.guidance.savings != PRESETS[Preset.REFERENCE]:
        raise ValueError(
            f"guidance: '{plan.algorithm.value}' is the paper's to the letter and leaves nothing out; choose the "
            f"preset '{Preset.REFERENCE.value}' without savings, or the algorithm '{Algorithm.AUTOMATIC.value}'"
        )
    if plan.algorithm in LOOPS and plan.windows.grid is not Grid.TILED:
        raise ValueError(
            f"windows: '{plan.algorithm.value}' is defined for windows that stay where the Window Tiler puts them, not "
            f"for the grid '{plan.windows.grid.value}'; choose '{Grid.TILED.value}' in the Window Tiler or the "
            f"algorithm '{Algorithm.AUTOMATIC.value}'"
        )
    if plan.algorithm is Algorithm.SEQUENTIAL and guided:
        raise ValueError(
            f"guidance: '{plan.algorithm.value}' makes one window after the other, so there is nothing to pull "
            f"together; disconnect guidance or choose the algorithm '{Algorithm.AUTOMATIC.value}'"
        )


def refuse_lost_moves(inner: comfy.samplers.KSAMPLER) -> None:
    """Raise ValueError for a sampler under which guidance would be lost."""
    name = next((KEEPS_NO_MOVE[name] for name in names_in(inner) if name in KEEPS_NO_MOVE), None)
    if name is not None:
        raise ValueError(
            f"sampler: {name} does not carry a move of its state on, so guidance would be lost under it; choose euler, "
            "ddim, dpmpp_2m, ipndm, deis, res_multistep or an ancestral sampler, or set the guidance weight to 0"
        )


def refuse_other_loops(algorithm: Algorithm, inner: comfy.samplers.KSAMPLER) -> None:
    """Raise ValueError for a loop of our own with another sampler's rule than its own."""
    if algorithm in LOOPS and not is_euler(inner):
        raise ValueError(
            f"sampler: '{algorithm.value}' is defined for euler and ddim only; choose one of them or "
            f"the algorithm '{Algorithm.HOST_SAMPLER.value}'"
        )


def refuse_other_samplers(
    synchronisation: Synchronisation, inner: comfy.samplers.KSAMPLER, any_rule: Synchronisation
) -> None:
    """Raise ValueError for a strategy under another sampler's rule than its loop's; any_rule: the one that may."""
    if synchronisation is not any_rule and not is_euler(inner):
        raise ValueError(
            f"synchronisation: '{synchronisation.value}' is defined for euler and ddim only; choose one of them, or "
            f"'{any_rule.value}', which goes with every sampler"
        )


def _refuse_other_synchronisation(plan: Plan) -> None:
    name = plan.synchronisation.value
    if plan.synchronisation is Synchronisation.MULTIDIFFUSION:
        return
    if plan.algorithm is not Algorithm.AUTOMATIC:
        raise ValueError(
            f"synchronisation: the algorithm '{plan.algorithm.value}' has its own and not '{name}'; choose the "
            f"algorithm '{Algorithm.AUTOMATIC.value}'"
        )
    moves = plan.windows.grid in (Grid.ROLLED, Grid.ALTERNATING)
    if moves and not STRATEGIES[plan.synchronisation].on_canvas:
        raise ValueError(
            f"synchronisation: '{name}' keeps the windows as its state, and those of the grid "
            f"'{plan.windows.grid.value}' stand elsewhere at every step; choose the grid '{Grid.TILED.value}', or "
            f"'{Synchronisation.MULTIDIFFUSION.value}'"
        )


def refuse_without_noise(noise: Tensor) -> None:
    """Raise ValueError for a sequential run that adds no noise: what is made could not be blended in."""
    if not noise.any():
        raise ValueError(
            f"noise: '{Algorithm.SEQUENTIAL.value}' noises what is made to blend it in at every level, and this run "
            f"adds none; turn add_noise on (RandomNoise), or choose the algorithm '{Algorithm.AUTOMATIC.value}'"
        )


def is_euler(sampler: comfy.samplers.KSAMPLER) -> bool:
    """Whether a sampler is the deterministic first-order one (euler; ddim is an alias of it), nothing around it."""
    plain = sampler.sampler_function is comfy.k_diffusion.sampling.sample_euler
    return plain and not sampler.extra_options.get("s_churn")
