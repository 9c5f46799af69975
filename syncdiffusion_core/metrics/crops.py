"""Random crops: one square of each panorama, for figures that compare images of the model's own size."""

import torch
from torch import Tensor


def random_crop(image: Tensor, size_px: int, seed: int) -> Tensor:
    """A square of [3, H, W]: [3, size_px, size_px].

    Its place is drawn evenly along both axes from the seed alone, so pictures of one size and seed are cropped at
    one place whatever made them. Source: SyncDiffusion, NeurIPS 2023, section 5: FID, KID, GIQA and CLIP score are of
    one random crop a panorama.
    """
    height, width = image.shape[-2:]
    if not 1 <= size_px <= min(height, width):
        raise ValueError(
            f"size_px has to be from 1 to the image's shorter side, got {size_px} for an image of {width}x{height} px: "
            "take a smaller crop or a larger image"
        )
    places = torch.rand(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    top, left = (int(place * (side - size_px + 1)) for place, side in zip(places, (height, width), strict=True))
    return image[..., top : top + size_px, left : left + size_px]
