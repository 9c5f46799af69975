"""Coherence of a panorama: how alike its parts look, which of them stand apart, and whether its ends meet."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..canvases.windows import Windows
from ..perceptual.distance import PerceptualDistance, pairwise
from ..perceptual.lpips_net import LpipsNet, Trunk
from ..perceptual.style import SceneStyle, StyleNet
from .seam import wrap_seam

MAD_FACTOR = 3.0
"""Some two standard deviations of a normal spread (a MAD is 0.67 of one)."""
LEAST_PART = 0.1
LEAST_DISTANCE = 0.05
"""For unit-normalised features: LPIPS, scene networks. The paper's coherent panoramas have .56, others .69."""
LEAST_STYLE_DISTANCE = 2e-4
"""The same for the Style loss, whose figures are some 1/230 of those of LPIPS (the paper's Tab. 2)."""
LOOK_DISTANCE = 0.15
"""From which two windows look different, by the scene network: of 20 scenes in five lights, 95 % of pairs of one place
and light are nearer than .051, and 95 % of those of one place in two lights are farther apart than .29."""
LOOK_SCENE_STYLE_DISTANCE = 8e-4
"""The same by its Gram matrices: .00056 and .0017."""
LOOK_LPIPS_VGG_DISTANCE = 0.62
"""The same by LPIPS vgg: between the paper's coherent panoramas at .56 and the others at .69."""


@dataclass(frozen=True)
class Coherence:
    """How coherent one panorama is.

    pairs: distances between non-overlapping windows, [W, W]. intra: their mean over all pairs (the paper's
    Intra-LPIPS), lower is more alike, 0 for fewer than two windows. seam: see ``wrap_seam``.
    """

    pairs: Tensor
    intra: float
    seam: float


def coherence(image: Tensor, distance: PerceptualDistance, window_px: int) -> Coherence:
    """Figures of one panorama [3, H, W] in [0, 1], windows of window_px side by side along its longer side."""
    pairs = distances(side_by_side(image, window_px), distance)
    return Coherence(pairs, mean_of_pairs(pairs), wrap_seam(image))


@torch.no_grad()
def distances(windows: Tensor, distance: PerceptualDistance) -> Tensor:
    """All distances between windows [W, 3, h, w] in [0, 1]: [W, W]. The network sees one window at a time.

    Raises ValueError where the network gives no numbers.
    """
    each = [distance.features(window) for window in windows.split(1)]
    pairs = pairwise(distance, tuple(torch.cat(layer) for layer in zip(*each, strict=True)))
    if not pairs.isfinite().all():
        raise ValueError(
            "perceptual_model: its distances between windows of this picture are NaN or infinite; load the file again "
            "or another network"
        )
    return pairs


def side_by_side(image: Tensor, window_px: int) -> Tensor:
    """Non-overlapping windows of [3, H, W] along the longer side: [W, 3, h, w]; what is left over is dropped."""
    height, width = image.shape[-2:]
    return windows_side_by_side((height, width), window_px).project(image[None])


def windows_side_by_side(size_px: tuple[int, int], window_px: int) -> Windows:
    """The windows of ``side_by_side`` over a picture of (height, width) pixels, from its left or its top.

    They span the shorter side; a picture of two equal sides counts as wide. One shorter than window_px along its
    longer side is one window.
    """
    height, width = size_px
    wide = width >= height
    length = max(size_px)
    step = min(window_px, length)
    starts = range(0, length - step + 1, step)
    window = (height, step) if wide else (step, width)
    return Windows((height, width), window, tuple((0, start) if wide else (start, 0) for start in starts))


def mean_of_pairs(pairs: Tensor) -> float:
    """Mean of the entries above the diagonal of [W, W]."""
    count = len(pairs)
    if count < 2:
        return 0.0
    rows, columns = torch.triu_indices(count, count, offset=1)
    return float(pairs[rows, columns].mean())


def mean_to_others(pairs: Tensor) -> Tensor:
    """Mean distance of each window to the others, of [W, W]: [W], lower is more alike; 0 for a window alone."""
    others = max(len(pairs) - 1, 1)
    return (pairs.sum(dim=1) - pairs.diagonal()) / others


def disagreeing(pairs: Tensor, least: float = LEAST_DISTANCE) -> tuple[int, ...]:
    """Windows that stand apart from the rest, by their distances [W, W]: indices from 0, in their order.

    A window disagrees when its mean distance to the others exceeds the windows' median by more than three median
    absolute deviations, by more than a tenth of that median, and by more than ``least`` (in the distance's units).
    The last two keep windows that are all alike, or all equally different, from being told apart by noise. Two
    camps of one size, among them two windows, have nobody to agree with: none disagrees. Never more than half do.

    Source: the rule of median and MAD for outliers (Leys et al., J. Exp. Soc. Psychol. 49, 2013). On 152 panoramas
    of the demo model, by its perceptual network: of 49 windows at another time of day than the majority of at least
    four in six it finds 38, of 149 at the majority's it takes 1 for one, and it marks some window in 4 of 71
    panoramas whose windows all show one time of day.
    """
    means = mean_to_others(pairs)
    middle = means.quantile(0.5)
    spread = (means - middle).abs().quantile(0.5)
    margin = max(MAD_FACTOR * float(spread), LEAST_PART * float(middle), least)
    return tuple(torch.nonzero(means > middle + margin).flatten().tolist())


def looks(pairs: Tensor, look: float) -> tuple[tuple[int, ...], ...]:
    """Windows that look alike, by their distances [W, W]: groups of indices from 0, by their first window.

    Every two of a group are nearer than ``look``; a window joins the first group whose all it is alike. One group is
    a coherent panorama, as many as windows one of which every part differs.
    """
    groups: list[list[int]] = []
    for window in range(len(pairs)):
        group = next((group for group in groups if bool((pairs[window, group] < look).all())), None)
        if group is None:
            groups.append([window])
        else:
            group.append(window)
    return tuple(map(tuple, groups))


def look_distance(network: PerceptualDistance) -> float | None:
    """From which distance two windows look different by this network; None where it was not measured."""
    if isinstance(network, SceneStyle):
        return LOOK_SCENE_STYLE_DISTANCE
    if isinstance(network, LpipsNet):
        return LOOK_LPIPS_VGG_DISTANCE if network.trunk is Trunk.VGG else None
    return None if isinstance(network, StyleNet) else LOOK_DISTANCE
