"""Where pictures are kept, and how they are read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.arms import Arm

UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises on files that are cut off, damaged or no pictures at all."""


class Unusable(ValueError):
    """A picture that cannot be scored; the message names it, says why and what to do."""


def picture(folder: Path, arm: Arm, seed: int) -> Path:
    """Where an arm's panorama of a seed is kept."""
    return folder / "pictures" / arm.name / f"{seed}.png"


def is_whole(path: Path) -> bool:
    """Whether there is a picture that can be read to its end."""
    try:
        with Image.open(path) as image:
            image.load()
    except UNREADABLE:
        return False
    return True


def load_picture(path: Path, width_px: int, height_px: int) -> Tensor:
    """[3, H, W] in [0, 1]. Raises Unusable when it is missing, damaged or of another size."""
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise Unusable(f"{path} is missing: run without --score-only to have it made") from None
    except UNREADABLE as error:
        raise Unusable(f"{path} cannot be read ({error}): run without --score-only to have it made again") from error
    if pixels.shape[:2] != (height_px, width_px):
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise Unusable(f"{path} is {size} px, not {width_px}x{height_px}: delete it to have it made again")
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
