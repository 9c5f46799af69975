"""KNN-GIQA: how near single images come to a reference set."""

import torch
from torch import Tensor

from .features import check_features


def giqa(features: Tensor, reference: Tensor, k: int = 8) -> Tensor:
    """Score of each row of features [N, D] by its k nearest rows of reference [M, D]: [N].

    Inverse feature units, in (0, inf); higher is nearer to the reference, so better. Scores compare only at the
    same network, k and reference. SyncDiffusion reports the mean over images at k = 8, times 1000.
    Source: Gu et al., GIQA, ECCV 2020, as their released code computes it: the sum, not the mean, of 1 / L1 distance
    over the k nearest; their distance adds 1e-6 to each coordinate's difference, left out here. Rows that are in the
    reference would be at distance 0 and are refused.
    """
    check_features(features, reference, at_least=1)
    if not 1 <= k <= len(reference):
        raise ValueError(f"k has to be from 1 to the {len(reference)} rows of reference, got {k}: lower k")
    distances = torch.cdist(features.double(), reference.double(), p=1)  # [N, M]
    nearest = distances.topk(k, dim=1, largest=False).values
    if (same := int((nearest[:, 0] == 0).sum())) > 0:
        raise ValueError(f"{same} rows of features are in reference too: leave them out of one of the two")
    return nearest.reciprocal().sum(dim=1)
