"""Panoramas measured: the host's IMAGE to what the drawings take, and back."""

from collections.abc import Sequence
from functools import partial

import comfy.model_management
import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor, nn

from ...syncdiffusion_core.batching import WindowBatches
from ...syncdiffusion_core.metrics import coherence as core
from ...syncdiffusion_core.perceptual.style import SceneStyle, StyleNet
from ..drawing.panorama import Panorama
from .gradient.perceptual import HostDistance, PerceptualModel
from .inputs import check_connected, picture
from .progress import say
from .run.memory import load_together

LEAST_SIDE_PX = 32
"""Below it the perceptual networks pool a picture away."""

REMEDY = (
    "Not even one window can be looked at in the memory that is left. Choose a smaller window_size or a lighter "
    "perceptual network, or close other programs that hold memory."
)


def measure(name: str, image: Tensor, model: PerceptualModel, window_px: int) -> list[Panorama]:
    """Each panorama of IMAGE [N, H, W, 3 or 4], the socket of that name, with its figures."""
    check_connected("perceptual_model", model, "add a Load Perceptual Model node")
    pictures = picture(name, image, LEAST_SIDE_PX).movedim(-1, 1)
    load_together([model.patcher])
    panoramas = []
    for pixels in pictures:  # [3, H, W]
        comfy.model_management.throw_exception_if_processing_interrupted()
        alone = WindowBatches(1, comfy.model_management.is_oom, remedy=REMEDY)
        panoramas.append(alone.alone(partial(_measured, pixels, model, window_px)))
    return panoramas


def least_difference(network: nn.Module) -> float:
    """The smallest difference of mean distances by this network that is one to the eye."""
    return core.LEAST_STYLE_DISTANCE if isinstance(network, StyleNet | SceneStyle) else core.LEAST_DISTANCE


def _measured(pixels: Tensor, model: PerceptualModel, window_px: int) -> Panorama:
    """One panorama [3, H, W]."""
    result = core.coherence(pixels, HostDistance(model), window_px)
    windows = core.windows_side_by_side(tuple(pixels.shape[-2:]), window_px)
    height, width = windows.view
    return Panorama(
        picture=to_picture(pixels.movedim(0, -1)),
        boxes=tuple((left, top, left + width, top + height) for top, left in windows.origins),
        pairs=tuple(map(tuple, result.pairs.tolist())),
        means=tuple(core.mean_to_others(result.pairs).tolist()),
        odd=core.disagreeing(result.pairs, least_difference(model.network)),
        intra=result.intra,
        seam=result.seam,
        looks=_looks(result.pairs, model.network),
    )


def _looks(pairs: Tensor, network: nn.Module) -> tuple[tuple[int, ...], ...]:
    look = core.look_distance(network)
    return () if look is None else core.looks(pairs, look)


def to_picture(pixels: Tensor) -> Image.Image:
    """Pixels [H, W, 3] in [0, 1], what is beyond cut off -> RGB picture."""
    return Image.fromarray((pixels.float().clamp(0, 1) * 255).round().byte().cpu().numpy())


def to_image(pictures: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size -> IMAGE [N, H, W, 3] in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).float() / 255


def shown(image: Tensor, text: str, cls: type[io.ComfyNode]) -> dict:
    """The ui of a node that shows pictures and a text, which is said under it: the interface shows pictures only."""
    say(text)
    return {**ui.PreviewImage(image, cls=cls).as_dict(), **ui.PreviewText(text).as_dict()}
