"""Diversity: how unlike different panoramas of one prompt are."""

import torch
from torch import Tensor


class Diversity:
    """Mean Euclidean distance between features of different panoramas of one prompt, quick to resample.

    features: [N, D], or [N, K, D] for K crops of each. prompts [N]: whole numbers; pairs of two prompts do not count,
    nor do crops of one panorama. Feature units, in [0, inf); higher is more diverse;
    compare with the same figure of single images. Source: own, after the mean pairwise distance of samples (Zhu et
    al., BicycleGAN, NeurIPS 2017, section 5.1, there with LPIPS); KID and FID mix it with quality.
    """

    def __init__(self, features: Tensor, prompts: Tensor) -> None:
        if features.ndim not in (2, 3) or prompts.shape != features.shape[:1]:
            raise ValueError(
                f"features has to be [N, D] or [N, K, D] and prompts [N], got {tuple(features.shape)} and "
                f"{tuple(prompts.shape)}: a row and a prompt for each panorama"
            )
        crops, flat = features.shape[1] if features.ndim == 3 else 1, features.flatten(0, -2).double()  # [N K, D]
        distances = torch.cdist(flat, flat).unflatten(0, (-1, crops)).unflatten(2, (-1, crops))
        alike = (prompts[:, None] == prompts[None, :]).to(distances).fill_diagonal_(0)
        self._distances, self._pairs = distances.mean(dim=(1, 3)) * alike, alike  # [N, N]

    def of(self, rows: Tensor | None = None) -> float:
        """Of the features in rows [R], None: all. Rows may repeat, as in a bootstrap; copies are no pair.

        ValueError where no two different rows share a prompt.
        """
        if rows is None:
            rows = torch.arange(len(self._distances))
        counts = rows.to(self._pairs.device).bincount(minlength=len(self._pairs)).double()
        pairs = float(counts @ self._pairs @ counts)
        if pairs == 0:
            raise ValueError(f"rows has to hold two different rows of one prompt, got {rows.tolist()}: draw more")
        return float(counts @ self._distances @ counts / pairs)
