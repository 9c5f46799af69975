"""Diversity: how unlike different panoramas of one prompt are."""

import torch
from torch import Tensor

from .pairs import pair_means


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
        self._distances = distances.mean(dim=(1, 3))  # [N, N]
        self._alike = prompts[:, None] == prompts[None, :]

    def of(self) -> float:
        """The figure; NaN where no two panoramas share a prompt."""
        return float(self.resampled(torch.arange(len(self._distances))[None])[0])

    def resampled(self, draws: Tensor) -> Tensor:
        """That of each draw [T, R] of panoramas by number, which may repeat: [T]; NaN for a draw without a pair."""
        return pair_means(self._distances, self._alike, draws)
