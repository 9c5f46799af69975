"""One run of a sampler through windows: everything that its steps need, made once and dropped when it returns."""

import comfy.model_patcher
import comfy.samplers
from torch import Tensor

from ....syncdiffusion_core.denoiser import Denoiser
from ..conditioning.bootstrapping import marked
from ..conditioning.encoding import encode_for_windows, entries_of, models_and_conds, refuse_context_windows
from ..conditioning.patches import windows_per_batch
from ..progress import say, warn
from .below import WindowsBelow, with_windows_below
from .checks import check_guidance, check_levels, check_masks, check_shape
from .denoiser import HostDenoiser
from .kept import KeptWindows
from .layout import layout_remarks, make_slicer, resolve_windows
from .memory import say_memory, window_batches, window_memory
from .plan import Plan
from .process import host_process
from .stateful import refuse_stateful
from .windowed import Steps
from .wrapped import guider_of, host_model_of, through


class Run:
    """The plan on one model, one canvas x [N, C, …, H, W] and these sigmas.

    model: what the host, or a pack around it, gives a sampler. options: the model options of the run's calls.
    """

    def __init__(self, plan: Plan, model: object, x: Tensor, sigmas: Tensor, extra_args: dict) -> None:
        self.plan, self.model = plan, model
        self.guider = guider_of(model)
        self.patcher, self.inner_model = self.guider.model_patcher, self.guider.inner_model
        check_shape(x.shape, self.inner_model.latent_format)
        check_levels(sigmas)
        check_masks(entries_of(self.guider.conds), x.shape)
        self.sigma_tensor, self.sigmas = sigmas, [float(s) for s in sigmas]
        self.seed = extra_args.get("seed")
        self.steps = Steps(self.sigmas)
        given = extra_args.get("model_options", {})
        resolved = resolve_windows(plan.windows, self.inner_model, x.shape)
        self.schedule = resolved.latent.later(plan.first_step)
        self.windows, self.remarks = self.schedule.every, []
        for line in layout_remarks(plan.windows, self.windows, self.inner_model):
            self.warn(line)
        if plan.guidance is not None:
            check_guidance(plan.guidance, self.patcher, plan.windows, x)
        self.process = host_process(self.inner_model.model_sampling)
        self._prepare_conditioning(x, given)
        conds = list(self.guider.conds.values())
        per_batch = windows_per_batch(plan.windows_per_batch, self.windows, self.patcher, given, conds, x.shape[0])
        row_shape = (*x.shape[1:-2], *self.windows.view)
        most = self.schedule.largest
        self.memory = window_memory(self.patcher, row_shape, x.shape[0], most, per_batch, plan.guidance)
        say_memory(self.memory)
        # One window is cut too where a gradient may go through the networks of its conditioning.
        slices = len(self.windows) > 1 or plan.guidance is not None or marked(entries_of(self.guider.conds))
        self.slicer = make_slicer(plan.windows, self.windows, self.inner_model, self.seed) if slices else None
        self.forget = None if self.slicer is None else self.slicer.forget
        self.batches = window_batches(self.memory.windows, self.memory.halves, self.forget)
        self.denoise_mask = extra_args.get("denoise_mask")
        below = WindowsBelow(self.schedule, self.steps.of, self.batches, self.slicer)
        self.options = with_windows_below(given, below)
        # A sampler may add to the lists of its options: what is known of the run's stays as it is.
        self.extra_args = {**extra_args, "model_options": comfy.model_patcher.create_model_options_clone(self.options)}

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

    def warn(self, line: str) -> None:
        """Tell the user what to act on, now and, as steps have lines of their own, once more at the end."""
        self.remarks.append(line)
        warn(line)

    def finish(self) -> None:
        """After the last step."""
        if self.remarks:
            say("\n".join(self.remarks))

    def denoiser(self) -> Denoiser:
        """Of windows that may have moved apart, kept cells blended in."""
        recompute, call = self.memory.recompute_model, through(self.model)
        denoiser = HostDenoiser(self.guider, self.options, self.seed, self.slicer, recompute, call)
        if self.denoise_mask is None:
            return denoiser
        return KeptWindows(denoiser, self.windows, self.host_model, self.denoise_mask, self.options)

    def _prepare_conditioning(self, x: Tensor, model_options: dict) -> None:
        refuse_context_windows(model_options)
        if len(self.windows) == 1:
            return
        refuse_stateful(model_options)
        for model, conds in models_and_conds(self.guider):
            encode_for_windows(model, conds, self.plan.windows, self.windows, x, self.seed)
