"""The figures of panoramas in words."""

from statistics import median

from .drawing.lettering import decimals_for
from .drawing.panorama import Panorama

DECIMALS = 4


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


def disagreement(panorama: Panorama) -> str:
    """Which windows disagree, counted from 1; empty for fewer than three windows, of which none can."""
    if len(panorama.boxes) < 3:
        return ""
    if not panorama.odd:
        return "no single window disagrees with the others"
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
