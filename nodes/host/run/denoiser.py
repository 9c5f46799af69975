"""The host's guider as the core's Denoiser."""

import copy
from collections.abc import Callable
from functools import partial

import comfy.model_management
import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ....syncdiffusion_core.denoiser import Rows
from ..conditioning.control import has_control, keep_skips
from ..conditioning.slicing import Slicer
from ..conditioning.tags import ALONE, KEY, tagged
from ..gradient.gradients import differentiable_call
from ..gradient.recompute import recomputing


class HostDenoiser:
    """Calls a guider on windows: CFG, hooks and patches are the host's own.

    Each call gets its own copy of the model options, in which ``transformer_options["syncdiffusion"]`` holds
    the rows, and in which every condition is cut to them; nothing is left on the model. slicer: None for one
    window over the whole canvas that is neither guided nor has regions to bootstrap. recompute: whether backward
    passes run the network's blocks again, for less memory. call: what is called in the guider's place, the same with
    functions of other packs around it.
    """

    def __init__(
        self,
        guider: object,
        model_options: dict,
        seed: int | None,
        slicer: Slicer | None,
        recompute: bool = False,
        call: Callable | None = None,
    ) -> None:
        self.guider, self.model_options, self.seed, self.slicer = guider, model_options, seed, slicer
        self.recompute, self._call = recompute, call or guider
        self._is_alone = False

    @property
    def alone(self) -> "HostDenoiser":
        """The same for guidance's own calls: windows never look at each other, so their batches do not matter."""
        other = copy.copy(self)
        other._is_alone = True
        return other

    def __call__(self, x: Tensor, sigma: float, rows: Rows) -> Tensor:
        """x [R, C, …, h, w] in the sampler's space -> x0; raises the host's interrupt when the user asked."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        options = tagged(comfy.model_patcher.create_model_options_clone(self.model_options), rows)
        options["transformer_options"][ALONE] = self._is_alone
        if self.slicer is not None:
            cut = self.slicer.calc_cond_batch
            add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, cut, options, is_model_options=True)
        if x.requires_grad:
            call = partial(_differentiable, self.recompute)
            add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, call, options, is_model_options=True)
            if has_control(self.guider.conds):
                keep_skips(options)
        levels = torch.full((len(rows),), sigma, device=x.device, dtype=torch.float32)
        return self._call(x, levels, model_options=options, seed=self.seed)


def _differentiable(recompute: bool, executor: object, *args: object, **kwargs: object) -> Tensor:
    """Around the host's apply_model, after hooks have swapped weights: alias per call."""
    with recomputing(executor.class_obj.diffusion_model, blocks=recompute):
        return differentiable_call(executor.class_obj, executor, *args, **kwargs)
