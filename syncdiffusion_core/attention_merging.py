"""Self-attention over the whole canvas in place of each window's own: the operator Merge-Attend-Diffuse (MAD).

Quattrini, Pippi, Cascianelli and Cucchiara, "Merging and Splitting Diffusion Paths for Semantically Coherent
Panoramas", ECCV 2024. Before a self-attention the tokens of all windows are put on the canvas and averaged where
windows overlap; every token of the canvas attends to every other; the result goes back to the windows. Queries, keys
and values are linear in the normalised hidden state, so its mean is theirs.

Convention: a token of a UNet stands for a square of 1, 2, 4 or 8 latent cells a side, and is where that square
begins. Attention does not know places, only which tokens are the same: those of windows that lie parts of a token
apart stay tokens of their own beside each other, and all look at all. Tokens of a window are in rows from the top
left. A batch holds branches (the conditions of CFG) one after the other; in each, rows are view-major, sample-minor.
"""

import torch
from torch import Tensor

from .blending import window_weight
from .canvases.windows import Windows


class MergedTokens:
    """The two maps between the windows' tokens and the canvas's T, for one attention layer.

    Windows count in the mean as they do in the picture: by their blend.
    """

    def __init__(self, windows: Windows, layer: tuple[int, int], n_samples: int) -> None:
        """windows: all of a step, in latent cells. layer: (height, width) of a window in the layer's tokens."""
        (height, width), cells = windows.canvas, cells_of_a_token(windows, layer)
        tops, lefts = torch.tensor(windows.origins).unbind(1)
        rows = (tops[:, None] + cells * torch.arange(layer[0])) % height  # [V, h]
        columns = (lefts[:, None] + cells * torch.arange(layer[1])) % width  # [V, w]
        places = rows[:, :, None] * width + columns[:, None, :]  # [V, h, w]
        found, self._index = places.flatten().unique(return_inverse=True)  # [T], [V*h*w]
        self._turns, self._back = _turns(self._index, len(found))
        self._weight = window_weight(windows.blend, *layer).flatten().repeat(len(windows))  # [V*h*w]
        self._count, self._n_views, self._n_samples = len(found), len(windows), n_samples

    def _on(self, device: torch.device) -> None:
        """Move the maps once: every layer of every step asks for them."""
        if self._index.device != device:
            self._index, self._weight, self._back = (t.to(device) for t in (self._index, self._weight, self._back))
            self._turns = [rows.to(device) for rows in self._turns]

    def merge(self, tokens: Tensor) -> Tensor:
        """Of the windows [K*V*N, h*w, C], K branches and N samples -> of the canvas [K*N, T, C].

        Sums are kept in float32 at least, and made window after window: the same bits at every run, on a GPU too.
        """
        dtype = torch.promote_types(tokens.dtype, torch.float32)
        self._on(tokens.device)
        weight = self._weight.to(dtype)
        stacked = tokens.unflatten(0, (-1, self._n_views, self._n_samples)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
        total = torch.zeros(len(stacked), self._count, tokens.shape[-1], dtype=dtype, device=tokens.device)
        share = torch.zeros(self._count, 1, dtype=dtype, device=tokens.device)
        for rows in self._turns:
            part = weight[rows, None]
            share[: len(rows)] += part
            for k, branch in enumerate(stacked):
                total[k, : len(rows)] += branch[rows].to(dtype).mul_(part)
        return total.div_(share).to(tokens.dtype).index_select(1, self._back)

    def split(self, tokens: Tensor) -> Tensor:
        """Of the canvas [K*N, T, C] -> of the windows [K*V*N, h*w, C]."""
        self._on(tokens.device)
        rows = tokens[:, self._index].unflatten(1, (self._n_views, -1))  # [K*N, V, h*w, C]
        return rows.unflatten(0, (-1, self._n_samples)).transpose(1, 2).flatten(0, 2)


def _turns(index: Tensor, count: int) -> tuple[list[Tensor], Tensor]:
    """How rows are summed in their order at the ``count`` places of ``index`` [R], where each place has some.

    (The first row of each place, the second of those that have one, and so on; the order that brings back the
    places.) Places that have the most rows come first, so that those of every turn are the beginning of the last's.
    """
    rows, counts = index.argsort(stable=True), index.bincount(minlength=count)
    first = counts.cumsum(0) - counts  # in ``rows``
    most = counts.argsort(descending=True, stable=True)
    turns = [rows[first[most[: int((counts > turn).sum())]] + turn] for turn in range(int(counts.max()))]
    return turns, most.argsort()


def cells_of_a_token(windows: Windows, layer: tuple[int, int]) -> int:
    """Latent cells along the side of a token: the power of two by which a UNet has made the window smaller.

    UNets round up where they halve an odd side.
    """
    cells = 1
    while any(-(-side // cells) > tokens for side, tokens in zip(windows.view, layer, strict=True)):
        cells *= 2
    return cells


def covers(windows: Windows) -> bool:
    """Whether the windows leave no cell of the canvas out."""
    return bool(torch.all(windows.coverage() > 0))
