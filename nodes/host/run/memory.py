"""How many windows go through the model at once, and what the host should reserve for them.

Reserved is what one batch needs, whatever the canvas: as many windows as keep a device busy, or as fit beside the
models when everything else is unloaded. The figures of backward passes were counted operation by operation on
SD-shaped networks of the host (tests/host/test_memory.py counts them again on a small one).
"""

import gc
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import comfy.model_management
from comfy.patcher_extension import WrappersMP

from ....syncdiffusion_core.batching import WindowBatches
from ....syncdiffusion_core.guidance.pullbacks import Gradient
from ..conditioning.attention_merging import NODE, check_batch, merging_of
from ..conditioning.tags import KEY
from ..gradient.decoder import POOLED, Look, resolved_look
from ..gradient.recompute import blocks_of
from ..progress import say
from .settings import GuidanceSettings, missing_backward

AUTOMATIC = 0
CFG_BRANCHES = 2
HEADROOM = 1.5  # the host's own factor between its estimate and what it asks to be free
LEVELLING = 1.5  # largest batch reserved for against the batch that runs

WINDOW_CELLS = 64 * 64  # of Stable Diffusion's window: the figures below are in such windows
WINDOWS_PER_CALL = 8  # beyond it a device is full (16 rows with CFG) and only memory grows; also of smaller windows
PULLED_PER_PASS = 2  # through the model's backward pass
DECODED_PER_PASS = 1  # through the decoder's: one picture keeps a device busy

SAVED_BY_UNET = (6.3, 0.187)  # activations saved in the host's estimates: for the UNet, and for each of its blocks
SAVED_BY_TRANSFORMER = 0.34  # for each block
RECOMPUTED = 0.25  # part of them that is alive at once when blocks are recomputed
SAVED_BY_DECODER = 2.7  # in the host's estimates of decoding one picture
LIGHT = 0.3  # of them, in a light decoder
TOGETHER = (
    f"{NODE} needs all windows in one call, and they do not fit in memory. Take larger strides or windows, a smaller "
    "canvas, close other programs that hold memory, or remove that node."
)
SAVED_BY_PERCEPTUAL = 2400  # bytes a pixel: VGG-16 to relu5_3 in float32


@dataclass(frozen=True)
class WindowMemory:
    """What a run takes of its device.

    windows: in one model call. pulled, decoded: in one backward pass of the model, and of the decoder; 0 where there
    is none. reserved: bytes beside the weights. recompute_model, recompute_decoder: whether their blocks are run again
    in the backward pass, because the activations of even one window do not fit. halves: whether a call of fewer
    windows means the same.
    """

    windows: int
    pulled: int
    decoded: int
    reserved: float
    recompute_model: bool = False
    recompute_decoder: bool = False
    halves: bool = True

    def describe(self) -> str:
        """One line for people."""
        parts = [f"{self.windows} windows a call"]
        if self.pulled:
            parts.append(f"{self.pulled} a pass back through the model" + " (recomputed)" * self.recompute_model)
        if self.decoded:
            parts.append(f"{self.decoded} a pass back through the VAE" + " (recomputed)" * self.recompute_decoder)
        return f"{', '.join(parts)}: {self.reserved / 2**20:,.0f} MB beside the models' weights"


def window_memory(
    patcher: object,
    row_shape: tuple[int, ...],
    n_samples: int,
    count: int,
    asked: int,
    guidance: GuidanceSettings | None = None,
) -> WindowMemory:
    """What a run through windows takes.

    row_shape: [C, …, h, w] of one window. count: most windows of a step, all of which merged attention takes at once.
    asked: windows in a batch by the user's wish, 0 for what fits.
    """
    needs = _Needs(patcher, row_shape, n_samples, guidance)
    merged = merging_of(patcher.model_options.get("transformer_options", {})) is not None
    if merged:
        check_batch(count, asked)
    windows = count if merged else needs.fitting(needs.call * HEADROOM, WINDOWS_PER_CALL, count, asked)
    pulled = needs.fitting(needs.pull, PULLED_PER_PASS, count, asked) if needs.pull else 0
    decoded = needs.fitting(needs.decode, DECODED_PER_PASS, count, asked) if needs.decode else 0
    reserved = max(_reserved(windows, count) * needs.call, pulled * needs.pull, decoded * needs.decode)
    return WindowMemory(windows, pulled, decoded, reserved, needs.recompute_model, needs.recompute_decoder, not merged)


class _Needs:
    """Bytes that one window of all samples takes: in a call of the model, in its backward pass, in the decoder's."""

    def __init__(
        self, patcher: object, row_shape: tuple[int, ...], n_samples: int, guidance: GuidanceSettings | None
    ) -> None:
        self._cells, self._n_samples = math.prod(row_shape[1:]), n_samples
        model, beside = patcher.model, [patcher]
        self.call = model.memory_required([n_samples * CFG_BRANCHES, *row_shape])
        self.pull = self.decode = 0.0
        if guidance is not None:
            beside += [guidance.perceptual.patcher, *([guidance.vae.patcher] if guidance.vae else [])]
            self.decode = n_samples * _decoding(guidance, model.latent_format, row_shape)
            if guidance.gradient is Gradient.THROUGH_MODEL and missing_backward(patcher) is None:
                self.pull = _saved(model, n_samples * CFG_BRANCHES * self._cells)
        self._room = _room(patcher, beside)
        self.recompute_model, self.recompute_decoder = self.pull > self._room, self.decode > self._room
        self.pull *= RECOMPUTED if self.recompute_model else 1
        self.decode *= RECOMPUTED if self.recompute_decoder else 1

    def fitting(self, need: float, most: int, count: int, asked: int) -> int:
        """Windows at once: as many as the user wants; else those that fit, at most those that keep a device busy."""
        if asked != AUTOMATIC:
            return min(asked, count)
        busy = int(most * WINDOW_CELLS / (self._cells * self._n_samples))
        return max(1, min(count, WINDOWS_PER_CALL, busy, int(self._room / need)))


def _reserved(windows: int, count: int) -> int:
    """Windows to reserve for when so many go in a call at most: the same for every long canvas.

    The batches of a run are levelled (21 by 16 are 11 + 10): no more than half as much again is reserved.
    """
    levelled = -(-count // -(-count // windows))
    return min(windows, int(LEVELLING * levelled))


def _saved(model: object, cells: int) -> float:
    """Bytes of activations that a backward pass through the model keeps, for so many latent cells."""
    blocks = sum(1 for _ in blocks_of(model.diffusion_model))
    transformers = sum(type(module).__name__ == "BasicTransformerBlock" for module in model.diffusion_model.modules())
    unet, each = SAVED_BY_UNET
    factor = unet + each * transformers if transformers else SAVED_BY_TRANSFORMER * blocks
    size = comfy.model_management.dtype_size(model.get_dtype_inference())
    return factor * cells * size * 0.01 * 2**20 * model.memory_usage_factor  # the host's formula for memory_required


def _decoding(guidance: GuidanceSettings, latent_format: object, row_shape: tuple[int, ...]) -> float:
    """Bytes of activations that a backward pass through the decoder and the perceptual network keeps, one picture."""
    vae, savings = guidance.vae, guidance.savings
    look = resolved_look(savings.look, latent_format)
    height, width = (-(-side // POOLED) if look is Look.POOLED else side for side in row_shape[-2:])
    pixels = height * width * (vae.spacial_compression_decode() if vae else 1) ** 2
    perceptual = SAVED_BY_PERCEPTUAL * pixels / savings.shrink**2
    if vae is None:
        return perceptual
    picture = vae.memory_used_decode((1, *row_shape[:-2], height, width), vae.vae_dtype)
    return perceptual + SAVED_BY_DECODER * picture * (LIGHT if look is Look.LIGHT else 1)


def _room(patcher: object, beside: list) -> float:
    """Bytes that are free when these models are loaded whole and nothing else is."""
    device = patcher.load_device
    free = patcher.get_free_memory(device)
    if patcher.is_dynamic():
        return free  # weights make room by themselves
    loaded = comfy.model_management.current_loaded_models
    freed = sum(entry.model_loaded_memory() for entry in loaded if entry.model is not None and entry.device == device)
    return free + freed - sum(other.model_size() for other in beside if other.load_device == device)


def window_batches(size: int, halves: bool = True, forget: Callable[[], None] | None = None) -> WindowBatches:
    """Batches of one run, of this many windows until the host's device runs out of memory; for good without halves.

    forget: drops what a run has kept for larger batches.
    """
    together = {} if halves else {"smallest": size, "remedy": TOGETHER}
    return WindowBatches(size, comfy.model_management.is_oom, partial(_make_room, forget), **together)


def _make_room(forget: Callable[[], None] | None, size: int) -> None:
    if forget is not None:
        forget()
    gc.collect()
    comfy.model_management.soft_empty_cache()
    line = f"out of memory: continuing with batches of {size} window{'s' * (size > 1)}"
    logging.warning("SyncDiffusion %s", line)
    say(line)


def say_memory(memory: WindowMemory) -> None:
    """Tell the user what the run takes, under the node and in the log."""
    line = memory.describe()
    logging.info("SyncDiffusion: %s", line)
    say(line)


def rows_reserving(memory: WindowMemory, patcher: object, row_shape: tuple[int, ...]) -> int:
    """Rows [C, …, h, w] for which the host would reserve as much: what PREPARE_SAMPLING estimates by."""
    return max(1, round(memory.reserved / patcher.model.memory_required([CFG_BRANCHES, *row_shape])))


def reserve_for_windows(model: object, memory: WindowMemory, row_shape: tuple[int, ...]) -> None:
    """Make the host estimate memory for one window batch instead of the canvas, on a cloned patcher."""
    rows = rows_reserving(memory, model, row_shape)

    def prepare(executor, patcher, noise_shape, *args, **kwargs):
        return executor(patcher, [rows, *row_shape], *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, prepare)


def load_together(patchers: list, extra: float = 0.0) -> None:
    """Load all of these at once, so that none evicts another at every guided step. extra: bytes beside them."""
    comfy.model_management.load_models_gpu(patchers, memory_required=extra)
