"""How many windows fit in memory at once, and what the host should reserve for them."""

import comfy.model_management
from comfy.patcher_extension import WrappersMP

from .attention_merging import check_batch, merging_of
from .tags import KEY

HEADROOM = 1.5  # the host's own factor between its estimate and what it asks to be free
BACKWARD_FACTOR = 4.0  # activations kept for a backward pass against a forward pass's peak (measured on SD shapes)
CFG_BRANCHES = 2
AUTOMATIC = 0


def windows_per_batch(patcher: object, row_shape: tuple[int, ...], n_samples: int, count: int, asked: int) -> int:
    """Windows in one model call: what the user asked for, or with 0 what fits.

    row_shape: [C, …, h, w] of one window. count: windows of the canvas, all of which merged attention takes at once.
    """
    if merging_of(patcher.model_options.get("transformer_options", {})) is not None:
        check_batch(count, asked)
        return count
    if asked != AUTOMATIC:
        return min(asked, count)
    free = patcher.get_free_memory(patcher.load_device)
    one = patcher.model.memory_required([n_samples * CFG_BRANCHES, *row_shape]) * HEADROOM
    return max(1, min(count, int(free / one)))


def guided_windows_per_batch(
    patcher: object, decoder: object, row_shape: tuple[int, ...], n_samples: int, count: int, asked: int
) -> int:
    """Windows in one gradient pass: the larger of the model's and the decoder's activations must fit."""
    if asked != AUTOMATIC:
        return min(asked, count)
    free = patcher.get_free_memory(patcher.load_device)
    model = patcher.model.memory_required([n_samples * CFG_BRANCHES, *row_shape])
    decoding = decoder.memory_used((n_samples, *row_shape))
    return max(1, min(count, int(free / (max(model, decoding) * BACKWARD_FACTOR))))


def reserve_for_windows(model: object, row_shape: tuple[int, ...], rows: int) -> None:
    """Make the host estimate memory for one window batch instead of the canvas, on a cloned patcher."""

    def prepare(executor, patcher, noise_shape, *args, **kwargs):
        return executor(patcher, [rows, *row_shape], *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, prepare)


def load_together(patchers: list, extra: float = 0.0) -> None:
    """Load all of these at once, so that none evicts another at every guided step."""
    comfy.model_management.load_models_gpu(patchers, memory_required=extra)
