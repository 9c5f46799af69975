"""A perceptual distance at a lower resolution: a quarter or a sixteenth of the network's work."""

import torch.nn.functional as F
from torch import Tensor

from .distance import Features, PerceptualDistance

SMALLEST_PX = 32
"""Below this LPIPS has no place left in its last layer."""


class Resized:
    """A PerceptualDistance of pictures averaged over factor x factor pixels, a rest at the far edges left out.

    The constant is the network's own. LPIPS is a spatial mean, so the scale of the loss does not follow the number of
    places; and averaging spreads a small pixel's gradient evenly over the factor^2 pixels that it came from, each of
    which is that much one of fewer places: the two cancel for what is smooth over `factor` pixels, and finer
    differences are no longer seen. Measured on the demo's early predictions, windows of 128 px, as the length of dL/dx0
    against factor 1 and the cosine with it: the scene net at 2, .99-1.14 and .91-.94; at 4, .94-.96 and .81-.93; VGG
    with random weights at 2, .96-.98 and .96-.98; at 4, .90-.94 and .83-.93. AlexNet and SqueezeNet, which stride in
    their first layer, look at something else at 2: cosines .64 and .43.
    """

    def __init__(self, distance: PerceptualDistance, factor: int) -> None:
        if factor < 1:
            raise ValueError(f"factor must be 1 (full resolution) or more, got {factor}")
        self._distance, self._factor = distance, factor
        self.constant = distance.constant

    def features(self, image: Tensor) -> Features:
        """Image [N, 3, H, W] in [0, 1] -> features of it at [H // factor, W // factor]."""
        return self._distance.features(self._smaller(image))

    def distance(self, features: Features, anchor: Features) -> Tensor:
        """Distance of each row to the anchor's: [N]; the anchor's batch is N or 1."""
        return self._distance.distance(features, anchor)

    def _smaller(self, image: Tensor) -> Tensor:
        if self._factor == 1:
            return image
        height, width = (side // self._factor for side in image.shape[-2:])
        if min(height, width) < SMALLEST_PX:
            raise ValueError(
                f"factor {self._factor} leaves {width}x{height} px of a picture of {image.shape[-1]}x{image.shape[-2]} "
                f"px, and perceptual networks need {SMALLEST_PX}; choose a smaller factor or larger windows"
            )
        return F.avg_pool2d(image, self._factor)
