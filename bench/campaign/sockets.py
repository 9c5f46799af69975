"""Hypothesis strategies for what travels through links: what is usual most of the time, now and then what is not."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from bench.campaign.cases import Thing
from bench.campaign.models import FAMILIES, Family

FAMILIES_DRAWN = ("eps", "eps", "eps", "v", "flow", "SDXL", "Flux", "Wan", "pixels")
DTYPES = ("float16", "bfloat16", "float64")
WIDTHS_PX = (64, 96, 128, 192, 200, 72)
HEIGHTS_PX = (64, 72, 96)
FILLS = ("noise", "zeros", "ones", "wide", "normal")
ODD_FILLS = ("nan", "inf")


def usually(draw: st.DrawFn, usual: st.SearchStrategy, odd: st.SearchStrategy, of: int = 16) -> object:
    """One time in so many something odd; a smaller example is a usual one."""
    return draw(odd if draw(st.integers(1, of)) == of else usual)


@st.composite
def fills(draw: st.DrawFn) -> str:
    """What a tensor holds."""
    return usually(draw, st.sampled_from(FILLS), st.sampled_from(ODD_FILLS), 20)


@st.composite
def mask_fills(draw: st.DrawFn) -> str:
    """What a mask holds: numbers from 0 to 1, most of the time."""
    return usually(draw, st.sampled_from(("noise", "ones")), fills(), 10)


@st.composite
def dtypes(draw: st.DrawFn) -> str:
    """Names of torch's types of numbers."""
    return usually(draw, st.just("float32"), st.sampled_from(DTYPES))


@st.composite
def images(draw: st.DrawFn, smallest: int = 32) -> Thing:
    """IMAGE [N, H, W, C] of any sizes, also of none."""
    side = st.integers(smallest, 100)
    count = usually(draw, st.integers(1, 2), st.sampled_from((0, 3)), 24)
    channels = usually(draw, st.sampled_from((3, 3, 4)), st.sampled_from((1, 2, 5)))
    shape = (count, usually(draw, side, st.integers(0, 31)), usually(draw, side, st.integers(0, 31)), channels)
    shape = usually(draw, st.just(shape), st.sampled_from((shape[1:], shape[:3], (1, *shape))), 20)
    return Thing("IMAGE", {"shape": shape, "fill": draw(fills()), "dtype": draw(dtypes())})


@st.composite
def mask_shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """[B, H, W], now and then without B, with a channel, or empty."""
    size = (draw(st.integers(1, 80)), draw(st.integers(1, 80)))
    count = usually(draw, st.just(1), st.sampled_from((0, 2, 3)))
    return usually(draw, st.just((count, *size)), st.sampled_from((size, (count, 1, *size), (count, 0, 5), (7,))))


@st.composite
def masks(draw: st.DrawFn) -> Thing:
    """MASK, also the 64x64 zeros that LoadImage gives for a picture without one."""
    loaded = Thing("MASK", {"shape": (1, 64, 64), "fill": "zeros"})
    if draw(st.integers(1, 16)) == 16:
        return loaded
    return Thing("MASK", {"shape": draw(mask_shapes()), "fill": draw(mask_fills()), "dtype": draw(dtypes())})


@st.composite
def latents(draw: st.DrawFn, family: Family, empty: bool = True) -> Thing:
    """LATENT for a family, now and then for another, of another rank, broken, or with a mask."""
    cell, samples = family.cell_px, usually(draw, st.just(1), st.sampled_from((2, 2, 0)))
    size = (draw(st.sampled_from(HEIGHTS_PX)) // cell, draw(st.sampled_from(WIDTHS_PX)) // cell)
    size = usually(draw, st.just(size), st.sampled_from(((1, 1), (0, size[1]), (size[0], 0), (7, 25))), 24)
    channels = usually(draw, st.just(family.channels), st.sampled_from((4, 16, 3, 1, 5)), 20)
    time = (1,) if family.frames else ()
    time = usually(draw, st.just(time), st.sampled_from(((2,), (), (1,))), 24)
    shape = (samples, channels, *time, *size)
    shape = usually(draw, st.just(shape), st.sampled_from((shape[1:], (1, *shape))), 30)
    usual = st.sampled_from(("zeros", "normal", "noise") if empty else ("normal", "noise"))
    given = {"shape": shape, "fill": usually(draw, usual, st.sampled_from(("nan", "inf", "wide", "ones")), 20)}
    given["dtype"] = draw(dtypes())
    given["cell_px"] = usually(draw, st.just(cell), st.sampled_from((8, 1, 16, None)))
    if draw(st.integers(1, 8)) == 8:
        given |= {"mask": draw(mask_shapes()), "mask_fill": draw(mask_fills())}
    return Thing("LATENT", given)


@st.composite
def conditionings(draw: st.DrawFn) -> Thing:
    """CONDITIONING with what the host's nodes write into it."""
    options = (
        {},
        {"start_percent": 0.0, "end_percent": 0.5},
        {"start_percent": 0.5, "end_percent": 0.5},
        {"strength": 0.0},
        {"area": (4, 4, 2, 2), "strength": 1.0},
        {"area": ("percentage", 0.5, 0.5, 0.25, 0.25), "strength": 1.0},
        {"default": True},
        {"guidance": 3.5},
    )
    given: dict[str, object] = {"seed": draw(st.integers(1, 9))}
    given["options"] = usually(draw, st.just({}), st.sampled_from(options), 6)
    given["entries"] = usually(draw, st.just(1), st.just(2))
    given["words"] = usually(draw, st.just(8), st.sampled_from((1, 13)))
    if draw(st.integers(1, 6)) == 6:
        given |= {"mask": draw(mask_shapes()), "mask_fill": draw(mask_fills())}
    return Thing("CONDITIONING", given)


@st.composite
def boxes(draw: st.DrawFn) -> Thing:
    """BOUNDING_BOX in the host's three forms, and in forms that detectors and hands make of it."""
    usual, odd_number = st.integers(8, 200), st.one_of(st.integers(-50, 20000), st.floats(0, 200), st.just(0))
    keys = ("x", "y", "width", "height")

    def box() -> dict:
        made = {key: usually(draw, usual, odd_number, 24) for key in keys}
        change = usually(draw, st.just(None), st.sampled_from((*keys, "nan", "words", "more")), 16)
        if change in keys:
            del made[change]
        elif change == "nan":
            made["width"] = float("nan")
        elif change == "words":
            made["x"] = "left"
        elif change == "more":
            made |= {"label": "tree", "score": 0.5}
        return made

    forms = {
        "one": lambda: box(),
        "several": lambda: [box() for _ in range(draw(st.integers(1, 3)))],
        "frames": lambda: [[box() for _ in range(draw(st.integers(1, 2)))] for _ in range(draw(st.integers(1, 2)))],
        "none": lambda: [],
        "an empty frame": lambda: [[box()], []],
        "tuple": lambda: [(1, 2, 30, 40)],
    }
    odd_forms = ("none", "an empty frame", "tuple")
    form = usually(draw, st.sampled_from(("one", "several", "frames")), st.sampled_from(odd_forms), 20)
    return Thing("BOUNDING_BOX", {"boxes": forms[form]()})


@st.composite
def vaes(draw: st.DrawFn, own: str, others: Sequence[str] = ("kl4", "kl16", "wan", "pixels", "none")) -> Thing:
    """A model's own VAE, now and then another, or none."""
    return Thing("VAE", {"name": usually(draw, st.just(own), st.sampled_from(others), 20)})


def families() -> st.SearchStrategy[str]:
    """Names of model families, quick ones more often."""
    assert set(FAMILIES_DRAWN) == set(FAMILIES)
    return st.sampled_from(FAMILIES_DRAWN)
