"""The host's SPLAT as the core's splats, and back with other colours."""

import torch
from torch import Tensor

from ...syncdiffusion_core.canvases.gaussians import Gaussians, gaussians
from .inputs import check_connected
from .progress import warn

DC = 0.28209479177387814
"""The first spherical harmonic, a constant: colour = coefficient * DC + 1/2, sRGB (Kerbl et al. 2023)."""
PARTS = ("positions", "scales", "rotations", "opacities", "sh")


def splats_of(given: object) -> Gaussians:
    """The first of a SPLAT, in the pack's world. Raises ValueError for what is none."""
    positions, scales, rotations, opacities, _ = _first(given)
    return gaussians(positions, scales, rotations, opacities[..., 0])


def colours_of(given: object) -> Tensor:
    """Colours of the first of a SPLAT, as from all around: sRGB [S, 3] in [0, 1]."""
    *_, sh = _first(given)
    if not bool(torch.isfinite(sh).all()):
        raise ValueError("splat: its colours hold NaN or infinite values; load another file, or check what made it")
    return (sh[:, 0] * DC + 0.5).clamp(0, 1)


def with_colours(given: object, colours: Tensor, keeps_orders: bool) -> object:
    """The first of a SPLAT in other colours [S, 3]; what changes with the direction is kept, or 0."""
    *rest, sh = _first(given)
    painted = sh.clone() if keeps_orders else torch.zeros_like(sh)
    painted[:, 0] = (colours.to(sh) - 0.5) / DC
    return type(given)(*(part[None] for part in rest), painted[None])


def say_first(given: object) -> None:
    """Warn where there are several and one is taken."""
    count = len(given.positions)
    if count > 1:
        warn(f"splat: it is a batch of {count}, of which the first is taken")


def _first(given: object) -> list[Tensor]:
    """positions, scales, rotations, opacities and sh of the first, float32, without what fills up a batch."""
    check_connected("splat", given, "add a Get Splat node")
    parts = [getattr(given, part, None) for part in PARTS]
    if not all(isinstance(part, Tensor) and part.ndim >= 3 and part.is_floating_point() for part in parts):
        raise ValueError("splat: these are no splats; connect Get Splat, or another node that gives a SPLAT")
    sizes = {part.shape[:2] for part in parts}
    if len(sizes) > 1 or not len(parts[0]) or parts[-1].ndim != 4 or 0 in parts[-1].shape[2:3]:
        shapes = ", ".join(f"{part} {list(values.shape)}" for part, values in zip(PARTS, parts, strict=True))
        raise ValueError(f"splat: its parts do not fit each other: {shapes}; check the node that made it")
    counts = getattr(given, "counts", None)
    end = parts[0].shape[1] if counts is None else int(counts[0])
    if end > parts[0].shape[1]:
        raise ValueError(f"splat: it counts {end} splats and holds {parts[0].shape[1]}; check the node that made it")
    return [part[0, :end].float().cpu() for part in parts]
