"""How many windows fit in memory at once, and what the host should reserve for them."""

import gc
import logging

import comfy.model_management
from comfy.patcher_extension import WrappersMP

from ...syncdiffusion_core.batching import WindowBatches
from .progress import say
from .tags import KEY

HEADROOM = 1.5  # the host's own factor between its estimate and what it asks to be free
BACKWARD_FACTOR = 4.0  # activations kept for a backward pass against a forward pass's peak (measured on SD shapes)
CFG_BRANCHES = 2
AUTOMATIC = 0


def windows_per_batch(patcher: object, row_shape: tuple[int, ...], n_samples: int, count: int, asked: int) -> int:
    """Windows in one model call: what the user asked for, or with 0 what fits.

    row_shape: [C, …, h, w] of one window. count: windows of the canvas.
    """
    if asked != AUTOMATIC:
        return min(asked, count)
    free = patcher.get_free_memory(patcher.load_device)
    one = patcher.model.memory_required([n_samples * CFG_BRANCHES, *row_shape]) * HEADROOM
    return max(1, min(count, int(free / one)))


def guided_windows_per_batch(
    patcher: object, vae: object, row_shape: tuple[int, ...], n_samples: int, count: int, asked: int
) -> int:
    """Windows in one gradient pass: the larger of the model's and the decoder's activations must fit."""
    if asked != AUTOMATIC:
        return min(asked, count)
    free = patcher.get_free_memory(patcher.load_device)
    model = patcher.model.memory_required([n_samples * CFG_BRANCHES, *row_shape])
    decoder = vae.memory_used_decode((n_samples, *row_shape), vae.vae_dtype)
    return max(1, min(count, int(free / (max(model, decoder) * BACKWARD_FACTOR))))


def window_batches(size: int) -> WindowBatches:
    """Batches of one run, of this many windows until the host's device runs out of memory."""
    return WindowBatches(size, comfy.model_management.is_oom, _make_room)


def _make_room(size: int) -> None:
    gc.collect()
    comfy.model_management.soft_empty_cache()
    line = f"out of memory: continuing with batches of {size} window{'s' * (size > 1)}"
    logging.warning("SyncDiffusion %s", line)
    say(line)


def reserve_for_windows(model: object, row_shape: tuple[int, ...], rows: int) -> None:
    """Make the host estimate memory for one window batch instead of the canvas, on a cloned patcher."""

    def prepare(executor, patcher, noise_shape, *args, **kwargs):
        return executor(patcher, [rows, *row_shape], *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, prepare)


def load_together(patchers: list, extra: float = 0.0) -> None:
    """Load all of these at once, so that none evicts another at every guided step."""
    comfy.model_management.load_models_gpu(patchers, memory_required=extra)
