"""Views as tables against dense matrices, and what the tables refuse."""

import pytest
import torch
from one_order import OneOrder
from torch import Tensor

from syncdiffusion_core.views.tables import IndexedViews, LinearViews, ResampledViews

V, K, VIEW = 3, 4, (5, 7)
CANVASES = [(60,), (6, 10), (3, 4, 5)]


def table(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random taps of 60 cells, a fifth of them missing: ([V, K, h, w], weights that sum to 1)."""
    generator = torch.Generator().manual_seed(seed)
    taps = torch.randint(60, (V, K, *VIEW), generator=generator)
    taps[torch.rand(taps.shape, generator=generator) < 0.2] = -1
    weights = torch.where(taps >= 0, torch.rand(taps.shape, generator=generator), 0)
    return taps, weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)


def weight_of_views() -> Tensor:
    weight = torch.rand(V, *VIEW, generator=torch.Generator().manual_seed(3))
    return torch.where(weight < 0.3, 0, weight)


def dense(taps: Tensor, weights: Tensor, sign: Tensor) -> Tensor:
    """P of each view: [V, h*w, 60]."""
    matrix = torch.zeros(V, VIEW[0] * VIEW[1], 60, dtype=torch.float64)
    flat = taps.flatten(2)
    for view, tap, row in (flat >= 0).nonzero().tolist():
        matrix[view, row, flat[view, tap, row]] += weights.flatten(2)[view, tap, row]
    return matrix * sign[:, None, None]


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("weight", [None, weight_of_views()], ids=["alike", "weighted"])
@pytest.mark.parametrize("indexed", [False, True])
def test_maps_are_those_of_the_matrix(canvas: tuple[int, ...], weight: Tensor | None, indexed: bool):
    (taps, weights), sign = table(), torch.tensor([1.0, -1, 1])
    if indexed:
        taps, weights = taps[:, :1], (taps[:, :1] >= 0).float()
        views = IndexedViews(taps[:, 0], canvas, weight, sign)
        assert torch.equal(views.index, taps[:, 0])
    else:
        views = ResampledViews(taps, weights, canvas, weight, sign)
        assert torch.equal(views.index, taps.gather(1, weights.argmax(dim=1, keepdim=True))[:, 0])
    p, w = dense(taps, weights, sign), torch.ones(V, *VIEW) if weight is None else weight
    x, y = torch.randn(2, 3, *canvas, dtype=torch.float64), torch.randn(2 * V, 3, *VIEW, dtype=torch.float64)
    seen = torch.einsum("vpc,nkc->vnkp", p, x.flatten(2)).reshape(2 * V, 3, *VIEW)
    torch.testing.assert_close(views.project(x), seen)
    with OneOrder():
        sums = views.unproject(y)
    weighted = y.unflatten(0, (V, 2)).flatten(-2) * w.flatten(1)[:, None, None]
    total = torch.einsum("vpc,vnkp->nkc", p, weighted).view_as(x)
    torch.testing.assert_close(sums.total, total, rtol=0, atol=1e-6)
    counted = torch.einsum("vpc,vp->c", p.abs(), w.double().flatten(1)).view(1, 1, *canvas)
    torch.testing.assert_close(sums.weight, counted, rtol=0, atol=1e-6)


def test_a_function_unprojects_as_its_table_does():
    taps, weights = table()
    by_table = ResampledViews(taps, weights, (6, 10), weight_of_views())

    def project(canvas: Tensor, number: int) -> Tensor:
        return by_table.subset([number]).project(canvas)

    by_function = LinearViews(project, (6, 10), VIEW, V, weight_of_views())
    y = torch.randn(2 * V, 3, 2, *VIEW)
    with torch.no_grad():
        for one, other in zip(by_table.unproject(y), by_function.unproject(y), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert by_function.subset([2, 0]).names == (2, 0)
    x = torch.randn(2, 3, 2, 6, 10)
    assert torch.equal(by_function.subset([2]).project(x), by_table.subset([2]).project(x))


def test_what_has_no_weight_takes_part_in_nothing():
    index = torch.tensor([[[0, -1, 1, 1]]])
    views = IndexedViews(index, (3,), weight=torch.tensor([[[1.0, 1, 0, 1]]]))
    sums = views.unproject(torch.tensor([[[[2.0, torch.nan, torch.inf, 5]]]]))
    assert sums.total.tolist() == [[[2, 5, 0]]]
    assert sums.weight.tolist() == [[[1, 1, 0]]]
    assert sums.mean().tolist() == [[[2, 5, 0]]]
    assert views.project(torch.tensor([[[7.0, 8, 9]]])).tolist() == [[[[7, 0, 8, 8]]]]


def test_names():
    views = IndexedViews(torch.zeros(3, 2, 2, dtype=torch.long), (4,), names=(4, 7, 9))
    assert views.subset([2, 1]).names == (9, 7)
    assert views.subset([2, 1]).subset([1]).names == (7,)
    assert views.names == (4, 7, 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taps": torch.full((V, K, *VIEW), 60)}, "between 0 and 59, or -1 for nothing, got 60 … 60"),
        ({"weights": table()[1][:, 1:]}, "of the taps' shape"),
        ({"weights": -table()[1]}, "must not be negative"),
        ({"weights": 2 * table()[1]}, "must sum to 1"),
        ({"weight": torch.ones(V, 7, 5)}, "weight must be"),
        ({"sign": torch.tensor([1.0, 0, 1])}, "sign must be 1 or -1"),
        ({"names": (1, 2)}, "names must be one for each of the 3 views, got 2"),
    ],
)
def test_tables_that_do_not_fit(change: dict, message: str):
    taps, weights = table()
    with pytest.raises(ValueError, match=message):
        ResampledViews(**{"taps": taps, "weights": weights, "canvas": (60,), **change})


def test_functions_that_do_not_fit():
    with pytest.raises(ValueError, match="at least one view"):
        LinearViews(lambda canvas, number: canvas, (4, 4), (4, 4), 0)
    with pytest.raises(ValueError, match=r"weight must be \[2, h, w\]"):
        LinearViews(lambda canvas, number: canvas, (4, 4), (4, 4), 2, torch.ones(1, 4, 4))
