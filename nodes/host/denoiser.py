"""The host's guider as the core's Denoiser."""

import comfy.model_management
import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...syncdiffusion_core.denoiser import Rows
from .gradients import differentiable_call

KEY = "syncdiffusion"
"""Of our wrappers, and of the entry in ``transformer_options`` that says which windows a batch holds."""


class HostDenoiser:
    """Calls a guider on windows: CFG, hooks and patches are the host's own.

    Each call gets its own copy of the model options, in which ``transformer_options["syncdiffusion"]`` holds
    the rows; nothing is left on the model.
    """

    def __init__(self, guider: object, model_options: dict, seed: int | None) -> None:
        self.guider, self.model_options, self.seed = guider, model_options, seed

    def __call__(self, x: Tensor, sigma: float, rows: Rows) -> Tensor:
        """x [R, C, …, h, w] in the sampler's space -> x0; raises the host's interrupt when the user asked."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        options = comfy.model_patcher.create_model_options_clone(self.model_options)
        options.setdefault("transformer_options", {})[KEY] = rows
        if x.requires_grad:
            add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, self._differentiable, options, is_model_options=True)
        levels = torch.full((len(rows),), sigma, device=x.device, dtype=torch.float32)
        return self.guider(x, levels, model_options=options, seed=self.seed)

    @staticmethod
    def _differentiable(executor: object, *args: object, **kwargs: object) -> Tensor:
        """Around the host's apply_model, after hooks have swapped weights: alias per call."""
        return differentiable_call(executor.class_obj, executor, *args, **kwargs)
