"""The figures of panoramas in words."""

from statistics import median

from .drawing.lettering import decimals_for
from .drawing.panorama import Panorama

DECIMALS = 4
LISTED = 12
"""Windows of a panorama whose looks are listed; of more their number stands for them."""


def distance(value: float) -> str:
    """A distance with four decimals, or as many as a small one needs."""
    return f"{value:.{max(DECIMALS, decimals_for(value))}f}"


def figures(panorama: Panorama) -> str:
    """Intra distance, number of windows and seam."""
    return (
        f"intra distance {distance(panorama.intra)} over {len(panorama.boxes)} windows, seam {panorama.seam:.2f}"
        if len(panorama.boxes) > 1
        else f"one window only, so nothing to compare (choose a smaller window_size), seam {panorama.seam:.2f}"
    )


def verdict_of(panorama: Panorama) -> str:
    """How coherent it is, in a few words: by how many windows stand apart, and by how many looks there are."""
    count, odd, looks = len(panorama.boxes), len(panorama.odd), len(panorama.looks)
    if count == 1:
        return "one window: nothing to compare"
    if looks == count:
        return "the two windows differ" if count == 2 else "all windows differ from each other"
    if odd:
        return f"{odd} of {count} windows {'disagrees' if odd == 1 else 'disagree'}{_others(panorama)}"
    if looks == 1:
        return "both windows look alike" if count == 2 else "all windows look alike"
    return f"{looks} looks among {count} windows" if looks else _unknown(panorama)


def _unknown(panorama: Panorama) -> str:
    """By a network of which nobody knows how far apart windows are that look alike."""
    if len(panorama.boxes) == 2:
        return f"two windows, {distance(panorama.intra)} apart"
    return f"no window differs more than the others (mean {distance(panorama.intra)})"


def disagreement(panorama: Panorama) -> str:
    """Which windows disagree, counted from 1, and whether those that do not are alike; empty for one window."""
    if len(panorama.boxes) < 3:
        return "" if len(panorama.boxes) == 1 or not panorama.looks else verdict_of(panorama)
    if not panorama.odd:
        return f"no single window disagrees with the others{_alike(panorama)}"
    return f"{_odd(panorama)}{_others(panorama)}"


def _alike(panorama: Panorama) -> str:
    """What is to be known where no window stands apart: all of one look, or each of its own."""
    looks, count = panorama.looks, len(panorama.boxes)
    if len(looks) == 1:
        return ": all look alike"
    if len(looks) == count:
        return ", for all differ from each other"
    if not looks or count > LISTED:
        return f", but they have {len(looks)} looks" if looks else ""
    groups = "; ".join(_listed([str(k + 1) for k in look]) for look in looks)
    return f", but they have {len(looks)} looks (windows {groups})"


def _others(panorama: Panorama) -> str:
    """What is to be known of the windows that do not stand apart, where they are not alike either."""
    rest = sum(1 for look in panorama.looks if not {*look} <= {*panorama.odd})
    if rest < 2:
        return ""
    agreeing = len(panorama.boxes) - len(panorama.odd)
    return ", and the others differ from each other too" if rest == agreeing else f", and the others have {rest} looks"


def _odd(panorama: Panorama) -> str:
    numbers = [str(k + 1) for k in panorama.odd]
    means = [distance(panorama.means[k]) for k in panorama.odd]
    middle = distance(median(panorama.means))
    noun, verb = ("window", "disagrees") if len(numbers) == 1 else ("windows", "disagree")
    return f"{noun} {_listed(numbers)} {verb} (on average {_listed(means)} from the others; a middle one {middle})"


def left_over(panorama: Panorama) -> str:
    """What the windows leave out; empty where they leave nothing."""
    if not panorama.left_over:
        return ""
    edge = "right" if panorama.wide else "bottom"
    return f"the last {panorama.left_over} px at the {edge} belong to no window and are left out"


def described(panorama: Panorama) -> str:
    """All of the above in one line."""
    return "; ".join(filter(None, (figures(panorama), disagreement(panorama), left_over(panorama))))


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
