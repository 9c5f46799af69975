"""Do the windows of a panorama say the same? By the labels that a classifier gives them."""

import torch
from torch import Tensor


def agreement(labels: Tensor) -> Tensor:
    """Share of the windows that carry the commonest label, labels [W] whole numbers from 0: a scalar.

    No unit, in [1/W, 1], 1 when all windows carry one label; higher is more coherent. Source: own.
    """
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"labels has to be [W] with at least one window, got {tuple(labels.shape)}: one label each")
    return labels.bincount().max() / len(labels)


def label_distance(probabilities: Tensor) -> float:
    """Mean total variation distance over all pairs of windows, label distributions [W, K], rows that sum to 1.

    No unit, in [0, 1]: 0 when all windows say the same or there are fewer than two, 1 when no two share a label;
    lower is more coherent. Unlike ``agreement`` it counts how sure the classifier is and how many labels there are.
    Source: own; the distance is sum_k |p_k - q_k| / 2.
    """
    if probabilities.ndim != 2:
        raise ValueError(f"probabilities has to be [W, K], got {tuple(probabilities.shape)}: a distribution a window")
    if (probabilities < 0).any() or ((probabilities.sum(dim=1) - 1).abs() > 1e-3).any():
        raise ValueError("probabilities has to hold distributions, rows from 0 up that sum to 1: apply softmax first")
    if len(probabilities) < 2:
        return 0.0
    return float(torch.pdist(probabilities.double(), p=1).mean() / 2)
