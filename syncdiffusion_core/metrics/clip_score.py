"""CLIP score: how well images fit their prompt."""

import torch.nn.functional as F
from torch import Tensor


def clip_score(image: Tensor, text: Tensor) -> Tensor:
    """100 max(cos(image, text), 0) of CLIP's projected features, image [N, D] with text [N, D] or [1, D]: [N].

    No unit, in [0, 100], natural pairs around 30; higher is better. Source: Hessel et al., CLIPScore, EMNLP 2021,
    Eq. 1, with 100 for their w = 2.5, as torchmetrics and SyncDiffusion scale it. torchmetrics clips the mean of a
    batch where this clips each image, as the equation does.
    """
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1] or len(text) not in (1, len(image)):
        raise ValueError(
            f"image has to be [N, D] and text [N, D] or [1, D], got {tuple(image.shape)} and {tuple(text.shape)}: "
            "embed one prompt for each image, or one for all"
        )
    return 100 * F.cosine_similarity(image, text, dim=1).clamp(min=0)
