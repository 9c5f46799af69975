"""Self-attention over the whole canvas in place of each window's own: the operator Merge-Attend-Diffuse (MAD).

Quattrini, Pippi, Cascianelli and Cucchiara, "Merging and Splitting Diffusion Paths for Semantically Coherent
Panoramas", ECCV 2024. Before a self-attention the tokens of all windows are put on the canvas and averaged where
windows overlap; every token of the canvas attends to every other; the result goes back to the windows. Queries, keys
and values are linear in the normalised hidden state, so its mean is theirs.

Convention: tokens of a window are its places in rows from the top left. A batch holds branches (the conditions of
CFG) one after the other; in each, rows are view-major, sample-minor.
"""

import torch
from torch import Tensor

from .views.view_set import aggregate
from .views.windows import Windows


class MergedTokens:
    """The two maps between the windows' tokens and the canvas's, for one attention layer.

    Windows count in the mean as they do in the picture: by their blend.
    """

    def __init__(self, windows: Windows, layer: tuple[int, int], n_samples: int) -> None:
        """windows: all of a step, in latent cells. layer: (height, width) of a window in the layer's tokens.

        Raises ValueError where the tokens of windows do not coincide; see ``windows_of_tokens``.
        """
        self._windows, self._n_samples = windows_of_tokens(windows, layer), n_samples

    def merge(self, tokens: Tensor) -> Tensor:
        """Of the windows [K*V*N, h*w, C], K branches and N samples -> of the canvas [K*N, H*W, C]."""
        by_view = tokens.unflatten(0, (-1, len(self._windows), self._n_samples)).transpose(0, 1)  # [V, K, N, h*w, C]
        views = by_view.flatten(0, 2).transpose(1, 2).unflatten(-1, self._windows.window)  # [V*K*N, C, h, w]
        return aggregate(self._windows, views).flatten(2).transpose(1, 2).to(tokens.dtype)

    def split(self, tokens: Tensor) -> Tensor:
        """Of the canvas [K*N, H*W, C] -> of the windows [K*V*N, h*w, C]."""
        canvas = tokens.transpose(1, 2).unflatten(-1, self._windows.canvas)  # [K*N, C, H, W]
        views = self._windows.project(canvas).flatten(2).transpose(1, 2)  # [V*K*N, h*w, C]
        return views.unflatten(0, (len(self._windows), -1, self._n_samples)).transpose(0, 1).flatten(0, 2)


def windows_of_tokens(windows: Windows, layer: tuple[int, int]) -> Windows:
    """The windows in an attention layer's tokens; layer: (height, width) of one of them there.

    A token of a UNet stands for a square of 1, 2, 4 or 8 latent cells a side. Attention does not know places, only
    which tokens are the same, so windows may start anywhere as long as they lie whole tokens apart. Raises ValueError
    where they do not: their tokens would be of places that overlap in part.
    """
    cells = cells_of_a_token(windows, layer)
    start = windows.origins[0]
    apart = {origin[axis] - start[axis] for origin in windows.origins for axis in (0, 1)}
    if any(length % cells for length in (*apart, *windows.window, *windows.canvas)):
        raise ValueError(
            f"windows: a layer of this model's attention has one token for {cells}x{cells} latent cells, so that "
            "merging needs windows, distances between them and a canvas in multiples of it; got windows of "
            f"{_size(windows.window)} cells at (top, left) {_listed(windows.origins)} on {_size(windows.canvas)}; "
            f"make width, height, strides and canvas multiples of {cells} cells ({8 * cells} px where a cell is 8 px)"
        )
    origins = tuple(((top - start[0]) // cells, (left - start[1]) // cells) for top, left in windows.origins)
    height, width = (length // cells for length in windows.canvas)
    return Windows((height, width), layer, origins, windows.blend)


def cells_of_a_token(windows: Windows, layer: tuple[int, int]) -> int:
    """Latent cells along the side of a token: the power of two by which a UNet has made the window smaller.

    UNets round up where they halve an odd side.
    """
    cells = 1
    while any(-(-side // cells) > tokens for side, tokens in zip(windows.window, layer, strict=True)):
        cells *= 2
    return cells


def covers(windows: Windows) -> bool:
    """Whether the windows leave no cell of the canvas out."""
    return bool(torch.all(windows.coverage() > 0))


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _listed(origins: tuple[tuple[int, int], ...]) -> str:
    named = ", ".join(map(str, origins[:4]))
    return f"{named}, …, {origins[-1]}" if len(origins) > 5 else ", ".join(map(str, origins))
