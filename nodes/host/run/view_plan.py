"""A run over views of any canvas, as the nodes describe it, and what cannot run."""

from collections.abc import Callable
from dataclasses import dataclass

import comfy.samplers
from torch import Tensor

from ....syncdiffusion_core.guidance.trace import GuidanceTrace
from ....syncdiffusion_core.moving import refuse_moving
from ....syncdiffusion_core.sampling import Sampled
from ....syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from ....syncdiffusion_core.views.relations import visible
from ....syncdiffusion_core.views.schedule import Resolved, Space, ViewSpec
from ..gradient.codec import Agreeing
from .memory import AUTOMATIC
from .plan import Algorithm, is_euler, refuse_lost_moves, refuse_other_samplers
from .settings import GuidanceSettings


@dataclass(frozen=True)
class ViewPlan:
    """spec, resolved: the views, as given and on this model. agreeing: in what they agree.

    noise: of the canvas, [N, C, *canvas] of unit variance. windows_per_batch: views in a model call, 0 for what fits.
    on_end: given what was made, and whether its canvas is of latents. on_trace: called after each guided step.
    """

    spec: ViewSpec
    resolved: Resolved
    inner: comfy.samplers.KSAMPLER
    noise: Tensor
    synchronisation: Synchronisation = Synchronisation.SYNCTWEEDIES
    agreeing: Agreeing = Agreeing(Space.LATENT)
    guidance: GuidanceSettings | None = None
    windows_per_batch: int = AUTOMATIC
    on_end: Callable[[Sampled, bool], None] | None = None
    on_trace: Callable[[GuidanceTrace], None] | None = None
    algorithm: Algorithm = Algorithm.AUTOMATIC
    first_step: int = 0
    total_steps: int | None = None

    @property
    def view_px(self) -> tuple[int, int]:
        """(height, width) of what the model is shown."""
        return self.spec.view_px


def refuse_views(plan: ViewPlan) -> None:
    """Raise ValueError for a plan that cannot run."""
    guided = plan.guidance is not None and plan.guidance.schedule.weight > 0
    if guided and plan.spec.distinct:
        raise ValueError(
            "guidance: it draws views towards one picture, and those of an ambiguous image are meant to differ; "
            "disconnect guidance, or set its weight to 0"
        )
    if STRATEGIES[plan.synchronisation].on_canvas and visible(plan.resolved.latent.every) is not None:
        raise ValueError(
            f"synchronisation: '{plan.synchronisation.value}' keeps one canvas, and the background of these views lies "
            f"on none; choose '{Synchronisation.SYNCTWEEDIES.value}'"
        )
    refuse_other_samplers(plan.synchronisation, plan.inner, Synchronisation.SYNCTWEEDIES)
    if plan.resolved.latent.moves:
        refuse_moving(plan.synchronisation)
        if not is_euler(plan.inner):
            raise ValueError(
                "sampler_name: views that turn are made anew at every step, by a loop of their own; choose ddim or "
                "euler, or set moves of Sphere Views to 'still'"
            )
    if guided:
        refuse_lost_moves(plan.inner)
