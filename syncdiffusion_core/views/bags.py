"""Views whose cells mix many of the canvas's, of which some are seen by very many: splats.

Both ways are sums over bags of rows, each made by one thread in the order of its rows: the same bits at every run, and
no turns, of which a cell that fills a view would need as many as the view has cells.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .sparse import SparseView
from .tables import ResampledViews


class _Rows(NamedTuple):
    """What a view says of the canvas: of each cell the rows from its offset to the next one."""

    rows: Tensor  # int32, of the view
    offsets: Tensor  # [cells + 1] int32
    shares: Tensor  # interpolation weight times weight of the row, > 0


class BagView(SparseView):
    """One view as a sparse matrix [h*w, cells]; see ``SparseView``."""

    def __init__(self, taps: Tensor, shares: Tensor, weight: Tensor, sign: Tensor) -> None:
        super().__init__(taps, shares, weight, sign)
        self._forward: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._backward: dict[tuple[torch.device, int], _Rows] = {}

    def seen(self, canvas: Tensor) -> Tensor:
        """P: canvas [N, C, …, cells] -> view [N, C, …, h*w]."""
        if canvas.device not in self._forward:
            taps, shares = self._taps.clamp(min=0).T.contiguous(), (self._shares * self.sign.to(self._shares)).T
            self._forward[canvas.device] = taps.to(canvas.device), shares.contiguous().to(canvas.device)
        taps, shares = self._forward[canvas.device]
        dtype = torch.promote_types(canvas.dtype, torch.float32)
        parts = [_summed(taps, part.to(dtype), shares) for part in _pictures(canvas)]
        return _stacked(parts, canvas).to(canvas.dtype)

    def add(self, total: Tensor, weight: Tensor, view: Tensor) -> None:
        """Adds P^T(w x) to total [N, C, …, cells] and P^T w to weight [1, 1, cells], of a view [N, C, …, h*w]."""
        key = view.device, total.shape[-1]
        if key not in self._backward:
            self._backward[key] = _Rows(*(part.to(view.device) for part in self._by_cell(total.shape[-1])))
        rows, offsets, shares = self._backward[key]
        one = torch.ones(view.shape[-1], 1, dtype=total.dtype, device=view.device)
        parts = [_summed(rows, torch.cat([part.to(total), one], dim=1), shares, offsets) for part in _pictures(view)]
        total += float(self.sign) * _stacked([part[:, :-1] for part in parts], view)
        weight += parts[0][:, -1]

    def _by_cell(self, cells: int) -> _Rows:
        taps, rows, shares = self._entries
        places = torch.arange(cells + 1, dtype=torch.int32, device=taps.device)
        return _Rows(rows, torch.searchsorted(taps, places).int(), shares)

    @cached_property
    def _entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """(cell, row, share) of all that have weight, by cells and in their order."""
        shares = (self._shares * self._weight).T  # [h*w, K]
        row, tap = torch.nonzero(shares, as_tuple=True)
        taps, order = self._taps.T[row, tap].sort(stable=True)
        return taps, row[order].int(), shares[row[order], tap[order]]


class BaggedViews(ResampledViews):
    """``ResampledViews`` whose cells have many taps."""

    _kind = BagView


def _summed(rows: Tensor, values: Tensor, shares: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Sums of values [n, C] over bags: of rows [bags, K], or of rows that the bags' offsets part: [bags, C]."""
    return F.embedding_bag(
        rows,
        values.contiguous(),
        offsets,
        mode="sum",
        per_sample_weights=shares.to(values),
        include_last_offset=offsets is not None,
    )


def _pictures(x: Tensor) -> Tensor:
    """[N, C, …, n] -> [N*…, n, C]: summed one by one, so that none depends on those beside it."""
    return x.movedim(1, -1).flatten(0, -3)


def _stacked(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """The reverse: pictures [n, C] of [N, C, …, n]."""
    return torch.stack(list(parts)).unflatten(0, (like.shape[0], *like.shape[2:-1])).movedim(-1, 1)
