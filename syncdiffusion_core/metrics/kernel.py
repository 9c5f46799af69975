"""Kernel distance of two sets of images (KID when the features are Inception's), quick to resample."""

import torch
from torch import Tensor

from .features import check_features


def _polynomial_kernel(a: Tensor, b: Tensor) -> Tensor:
    """(a.b / D + 1)^3 of all rows of [N, D] with all of [M, D]: [N, M]."""
    return (a @ b.T / a.shape[1] + 1) ** 3


class KernelDistance:
    """Unbiased squared maximum mean discrepancy of features [N, D] to reference [M, D], kernel (a.b / D + 1)^3.

    No unit, 0 on average for two samples of one distribution and below 0 by chance; lower is better. Its mean does
    not depend on N and M. SyncDiffusion reports it times 1000. The kernel cubes large means: features whose means
    dwarf their spread are best standardised first, both tables by the reference's mean and deviation.
    Features [N, K, D] are K crops of each picture: the figure of one crop each, averaged over which one, so that crops
    of one picture, alike by design, are never a pair.
    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018, section 4.
    """

    def __init__(self, features: Tensor, reference: Tensor) -> None:
        crops = features.shape[1] if features.ndim == 3 else 1
        features = features.flatten(0, 1) if features.ndim == 3 else features  # [N K, D]
        check_features(features, reference, at_least=2)
        features, reference = features.double(), reference.double()
        own = _polynomial_kernel(features, features)  # [N K, N K]
        self._own = own.unflatten(0, (-1, crops)).unflatten(2, (-1, crops)).mean(dim=(1, 3))  # [N, N]
        self._own.fill_diagonal_(0)
        self._cross = _polynomial_kernel(features, reference).mean(dim=1).unflatten(0, (-1, crops)).mean(dim=1)  # [N]
        kernel, count = _polynomial_kernel(reference, reference), len(reference)
        self._reference = (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))

    def of(self, rows: Tensor | None = None) -> float:
        """Distance of the features in rows [R], None: all.

        Rows may repeat, as in a bootstrap; pairs of a row with itself or its copies are no pairs of two images and
        are left out of the features' own term.
        """
        if rows is None:
            rows = torch.arange(len(self._own))
        rows = rows.to(self._own.device)
        counts = rows.bincount(minlength=len(self._own)).double()  # a bootstrap of thousands of rows stays quick
        pairs = len(rows) ** 2 - float(counts.square().sum())
        if pairs == 0:
            raise ValueError(f"rows has to hold two different rows, got {rows.tolist()}: draw more of them")
        own = counts @ self._own @ counts / pairs
        return float(own + self._reference - 2 * self._cross @ counts / len(rows))
