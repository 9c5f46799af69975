"""Attention masks of transformers, cut to windows: rows and columns for each token of the text and the picture.

Style models (Redux) and nodes that couple prompts to places set one for the canvas's tokens, in the order text, then
the picture's patches row by row. A window attends among its own patches only.
"""

import math

import comfy.utils
import torch
from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Rows

ATTENTION = "attention_mask"
"""The host's name of a mask over a model's tokens."""


def attends_to_places(mask: object, words: int, windows: Windows) -> bool:
    """Whether a model's input is an attention mask over text and picture: [B, N, N] with N above the text's tokens."""
    whole = isinstance(mask, Tensor) and mask.ndim == 3 and mask.shape[1] == mask.shape[2] > words > 0
    return whole and len(windows) > 1


def cut_attention(mask: Tensor, words: int, windows: Windows, rows: Rows) -> Tensor:
    """[B, N, N] of the canvas, B samples or 1 -> [R, n, n] of the rows' windows. words: tokens of text before them."""
    patch = _patch(mask.shape[1] - words, windows)
    places = Windows(
        tuple(length // patch for length in windows.canvas),
        tuple(length // patch for length in windows.view),
        tuple((top // patch, left // patch) for top, left in windows.origins),
    )
    numbered = torch.arange(words, mask.shape[1]).reshape(1, 1, *places.canvas)
    seen = places.subset(rows.distinct_views).project(numbered).flatten(1)  # [V, tokens of a window]
    masks = comfy.utils.repeat_to_batch_size(mask, rows.n_samples)
    parts = []
    for window in seen.to(mask.device):
        tokens = torch.cat([torch.arange(words, device=mask.device), window])
        parts.append(masks[:, tokens[:, None], tokens])
    return torch.cat(parts)


def _patch(tokens: int, windows: Windows) -> int:
    """Latent cells along the side of a patch, if the canvas has so many of them."""
    height, width = windows.canvas
    patch = math.isqrt(height * width // tokens)
    if patch == 0 or height % patch or width % patch or tokens * patch**2 != height * width:
        raise ValueError(
            f"conditioning: its attention mask is for {tokens} patches of a picture, which a canvas of "
            f"{windows.canvas} latent cells does not have, so it cannot be cut into windows; make it for the canvas's "
            "size, or remove it"
        )
    return patch
