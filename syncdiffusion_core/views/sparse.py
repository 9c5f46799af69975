"""One view as a sparse matrix, whose adjoint is summed in one order on every device.

Sums are made in turns: the first row of every cell, then the second of those that have one, and so on. The bits are
the same at every run, on a GPU too, where ``index_add`` and ``scatter_add`` have no order.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class _Turns(NamedTuple):
    """Sums of one view onto the canvas: each turn writes every cell at most once."""

    cells: list[Tensor]  # int32, of the canvas
    rows: list[Tensor]  # int32, of the view
    shares: list[Tensor]  # interpolation weight times weight of the row, > 0


class SparseView:
    """One view as a sparse matrix [h*w, cells], and its adjoint in turns, on every device that asked for it.

    taps [K, h*w] int, shares [K, h*w] (0 where a tap is -1), weight [h*w], sign: a scalar.
    """

    def __init__(self, taps: Tensor, shares: Tensor, weight: Tensor, sign: Tensor) -> None:
        self._taps, self._shares, self._weight, self.sign = taps, shares, weight, sign
        self._here: dict[torch.device, tuple[Tensor, Tensor, Tensor | None]] = {}
        self._turns: dict[torch.device, _Turns] = {}

    @property
    def nearest(self) -> Tensor:
        """The tap that counts the most, the first of several: [h*w] long, -1 for none."""
        return self._taps.gather(0, self._shares.argmax(dim=0, keepdim=True))[0].long()

    @cached_property
    def visible(self) -> Tensor:
        """Which rows show anything: [h*w] bool."""
        return self.nearest >= 0

    def seen(self, canvas: Tensor) -> Tensor:
        """P: canvas [N, C, …, cells] -> view [N, C, …, h*w]."""
        if canvas.device not in self._here:
            taps, shares, rows = self._shown
            own = None if rows is None else rows.to(canvas.device)
            self._here[canvas.device] = taps.to(canvas.device), shares.to(canvas.device), own
        taps, shares, rows = self._here[canvas.device]
        dtype = torch.promote_types(canvas.dtype, torch.float32)
        view = canvas[..., taps[0]].to(dtype) * shares[0].to(dtype)
        for tap, share in zip(taps[1:], shares[1:], strict=True):
            view = view + canvas[..., tap].to(dtype) * share.to(dtype)
        if rows is None:
            return view.to(canvas.dtype)
        whole = canvas.new_zeros(*canvas.shape[:-1], len(self._weight))
        whole[..., rows] = view.to(canvas.dtype)
        return whole

    @property
    def _shown(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Taps, shares and numbers of the rows that show anything; None for all rows.

        Where nothing has to be changed, these are the tables themselves.
        """
        shares = self._shares if self.sign == 1 else self._shares * self.sign.to(self._shares)
        if int(self._taps.min()) >= 0:
            return self._taps, shares, None
        if bool(self.visible.all()):
            return self._taps.clamp(min=0), shares, None
        (rows,) = self.visible.nonzero(as_tuple=True)
        return self._taps[:, rows].clamp(min=0), shares[:, rows], rows

    def add(self, total: Tensor, weight: Tensor, view: Tensor) -> None:
        """Adds P^T(w x) to total [N, C, …, cells] and P^T w to weight [1, 1, cells], of a view [N, C, …, h*w]."""
        if view.device not in self._turns:
            self._turns[view.device] = _Turns(*([part.to(view.device) for part in parts] for parts in self._sorted))
        sign = float(self.sign)
        for cells, rows, shares in zip(*self._turns[view.device], strict=True):
            share, cells = shares.to(total), cells.long()
            total[..., cells] += view[..., rows].to(total) * (sign * share)
            weight[..., cells] += share

    @cached_property
    def _sorted(self) -> _Turns:
        """Rows by cells, in their order; those of no weight take part in nothing."""
        shares = self._shares * self._weight
        tap, row = torch.nonzero(shares, as_tuple=True)
        cells, order = self._taps[tap, row].sort(stable=True)
        # How many rows of the same cell come before: its turn.
        turn = torch.arange(len(cells), device=cells.device) - torch.searchsorted(cells, cells)
        turn, late = turn.sort(stable=True)
        ends = torch.searchsorted(turn, torch.arange(1, int(turn[-1]) + 1 if len(turn) else 1, device=turn.device))
        rows = order[late]
        parts = (cells[late].int(), row[rows].int(), shares[tap[rows], row[rows]])
        return _Turns(*(list(part.tensor_split(ends.cpu())) for part in parts))
