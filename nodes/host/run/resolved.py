"""One run of a sampler: everything that its steps need, made once and dropped when it returns."""

from collections.abc import Callable

import comfy.model_patcher
import comfy.samplers
from torch import Tensor

from ....syncdiffusion_core.denoiser import Denoiser, Rows
from ....syncdiffusion_core.views.schedule import ViewSchedule
from ....syncdiffusion_core.views.view_set import ViewSet
from ..conditioning.bootstrapping import marked
from ..conditioning.encoding import encode_for_windows, entries_of, models_and_conds, refuse_context_windows
from ..conditioning.patches import windows_per_batch
from ..conditioning.tags import cut
from ..progress import say, warn
from .below import WindowsBelow, with_windows_below
from .checks import check_guidance, check_levels, check_masks, check_shape
from .denoiser import HostDenoiser
from .kept import Kept, free_cells
from .layout import layout_remarks, make_slicer, resolve_windows, tiled_windows
from .memory import WindowMemory, say_memory, window_batches, window_memory
from .openings import Openings
from .plan import Plan
from .process import host_process
from .settings import HostGuidance
from .stateful import refuse_stateful
from .watching import Told, check_result
from .windowed import Steps
from .wrapped import guider_of, host_model_of, names_in, through


class RunBase:
    """What any run has, of a plan on one model and these noise levels.

    model: what the host, or a pack around it, gives a sampler. schedule: the views; memory, batches, slicer, options:
    how they go through the model.
    """

    schedule: ViewSchedule
    memory: WindowMemory
    slicer: object | None
    options: dict
    extra_args: dict
    denoise_mask: Tensor | None

    def __init__(self, plan: object, model: object, sigmas: Tensor, extra_args: dict) -> None:
        self.plan, self.model = plan, model
        self.guider = guider_of(model)
        self.patcher, self.inner_model = self.guider.model_patcher, self.guider.inner_model
        check_levels(sigmas)
        self.sigma_tensor, self.sigmas = sigmas, [float(s) for s in sigmas]
        self.seed, self.denoise_mask = extra_args.get("seed"), extra_args.get("denoise_mask")
        self.process = host_process(self.inner_model.model_sampling)
        self.remarks: list[str] = []

    @property
    def views(self) -> ViewSet:
        """All views of the run."""
        return self.schedule.every

    @property
    def counted(self) -> ViewSet:
        """The views by which the user counts."""
        return self.views

    @property
    def forget(self) -> Callable[[], None] | None:
        """Drops what was made for batches that have failed for want of memory."""
        return None if self.slicer is None else self.slicer.forget

    def use(self, memory: WindowMemory) -> None:
        """Go through the model in batches of this memory; say so."""
        self.memory = memory
        say_memory(memory)
        self.batches = window_batches(memory.windows, memory.halves, self.forget)

    def warn(self, line: str) -> None:
        """Tell the user what to act on, now and, as steps have lines of their own, once more at the end."""
        self.remarks.append(line)
        warn(line)

    def opened(self, guidance: HostGuidance | None, callback: Callable[[dict], None]) -> tuple[Told, Openings | None]:
        """(What an inner sampler tells its steps to, what finds the calls that open guided ones)."""
        if guidance is None:
            return Told(callback), None
        openings = Openings(self.sigmas, names_in(self.plan.inner))
        return Told(callback, openings.tell), openings

    def by_host(self, model: object, x: Tensor, told: Told, disable: bool | None) -> Tensor:
        """The inner sampler's own loop, over what stands for the model."""
        inner, options = self.plan.inner, self.plan.inner.extra_options
        given = {"extra_args": self.extra_args, "callback": told, "disable": disable}
        return inner.sampler_function(model, x, self.sigma_tensor, **given, **options)

    def finish(self, result: object, x: Tensor, guidance: HostGuidance | None) -> None:
        """After the last step. Raises ValueError for a result that is none; x: what the sampler was given."""
        check_result(result, x)
        if guidance is not None and (line := guidance.left_out()):
            self.warn(line)
        if self.remarks:
            say("\n".join(self.remarks))

    def denoiser(self) -> Denoiser:
        """Of views that may have moved apart, kept cells blended in."""
        recompute, call = self.memory.recompute_model, through(self.model)
        return self.kept(HostDenoiser(self.guider, self.options, self.seed, self.slicer, recompute, call))

    @property
    def host_model(self) -> comfy.samplers.KSamplerX0Inpaint:
        """The host's model, which keeps what is blended in. Raises ValueError where a pack's function hides it."""
        found = host_model_of(self.model)
        if found is None:
            raise ValueError(
                "sampler: a function around the model hides the picture that a noise mask keeps; remove the mask, or "
                "what another pack has put around the SyncDiffusion Sampler"
            )
        return found

    @property
    def free(self) -> Tensor:
        """Where on the canvas a noise mask lets anything change: [N, *canvas], true there."""
        return free_cells(self.denoise_mask)

    def own(self, canvas: Tensor, rows: Rows) -> Tensor:
        """What rows have of what the host holds for the run's latent: see ``Own``."""
        raise NotImplementedError

    def kept(self, denoiser: Denoiser) -> Denoiser:
        """A denoiser with what the noise mask keeps blended in."""
        if self.denoise_mask is None:
            return denoiser
        return Kept(denoiser, self.own, self.host_model, self.denoise_mask, self.options)


class Run(RunBase):
    """A run through windows of one canvas x [N, C, …, H, W]."""

    def __init__(self, plan: Plan, model: object, x: Tensor, sigmas: Tensor, extra_args: dict) -> None:
        super().__init__(plan, model, sigmas, extra_args)
        check_shape(x.shape, self.inner_model.latent_format)
        check_masks(entries_of(self.guider.conds), x.shape)
        self.steps, self._size = Steps(self.sigmas), x.shape
        resolved = resolve_windows(plan.windows, self.inner_model, x.shape)
        self.schedule = resolved.latent.later(plan.first_step)
        for line in layout_remarks(plan.windows, self.views, self.inner_model):
            self.warn(line)
        if plan.guidance is not None:
            check_guidance(plan.guidance, self.patcher, plan.view_px, self.counted, x)
        given = extra_args.get("model_options", {})
        self._prepare_conditioning(x, given)
        # One window is cut too where a gradient may go through the networks of its conditioning.
        slices = len(self.views) > 1 or plan.guidance is not None or marked(entries_of(self.guider.conds))
        self.slicer = make_slicer(plan.windows, self.views, self.inner_model, self.seed) if slices else None
        conds = list(self.guider.conds.values())
        per_batch = windows_per_batch(plan.windows_per_batch, self.views, self.patcher, given, conds, x.shape[0])
        row_shape, most = (*x.shape[1:-2], *self.views.view), self.schedule.largest
        self.use(window_memory(self.patcher, row_shape, x.shape[0], most, per_batch, plan.guidance))
        below = WindowsBelow(self.schedule, self.steps.of, self.batches, self.slicer)
        self.options = with_windows_below(given, below)
        # A sampler may add to the lists of its options: what is known of the run's stays as it is.
        self.extra_args = {**extra_args, "model_options": comfy.model_patcher.create_model_options_clone(self.options)}

    @property
    def counted(self) -> ViewSet:
        """The windows at every stride, whatever the grid that moves them."""
        return tiled_windows(self.plan.windows, self.inner_model, self._size)

    def own(self, canvas: Tensor, rows: Rows) -> Tensor:
        """The windows' parts of what the host holds for the canvas."""
        return cut(self.views, canvas, rows)

    def _prepare_conditioning(self, x: Tensor, model_options: dict) -> None:
        refuse_context_windows(model_options)
        if len(self.views) == 1:
            return
        refuse_stateful(model_options)
        for model, conds in models_and_conds(self.guider):
            encode_for_windows(model, conds, self.plan.windows, self.views, x, self.seed)
