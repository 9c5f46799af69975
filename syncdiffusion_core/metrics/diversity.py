"""Diversity: how unlike different panoramas of one prompt are."""

import torch
from torch import Tensor


class Diversity:
    """Mean Euclidean distance between features [N, D] of different panoramas of one prompt, quick to resample.

    prompts [N]: whole numbers, pairs of two prompts do not count. Feature units, in [0, inf); higher is more diverse;
    compare with the same figure of single images. Source: own, after the mean pairwise distance of samples (Zhu et
    al., BicycleGAN, NeurIPS 2017, section 5.1, there with LPIPS); KID and FID mix it with quality.
    """

    def __init__(self, features: Tensor, prompts: Tensor) -> None:
        if features.ndim != 2 or prompts.shape != features.shape[:1]:
            raise ValueError(
                f"features has to be [N, D] and prompts [N], got {tuple(features.shape)} and {tuple(prompts.shape)}: a "
                "row and a prompt for each image"
            )
        self._distances = torch.cdist(features.double(), features.double())
        self._alike = prompts[:, None] == prompts[None, :]

    def of(self, rows: Tensor | None = None) -> float:
        """Of the features in rows [R], None: all. Rows may repeat, as in a bootstrap; copies are no pair.

        ValueError where no two different rows share a prompt.
        """
        if rows is None:
            rows = torch.arange(len(self._distances))
        counted = self._alike[rows][:, rows] & (rows[:, None] != rows[None, :])
        if not counted.any():
            raise ValueError(f"rows has to hold two different rows of one prompt, got {rows.tolist()}: draw more")
        return float(self._distances[rows][:, rows][counted].mean())
