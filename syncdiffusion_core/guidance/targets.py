"""What the windows are pulled towards."""

from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from ..views.view_set import ViewSet


class AnchorKind(str, Enum):
    """Which picture the windows should resemble."""

    CENTRE = "centre window"
    INDEX = "window by index"
    IMAGE = "reference image"
    MEAN = "mean of all windows"


@dataclass(frozen=True)
class Anchor:
    """An anchor; index counts windows from the top left, image is [1 or N, 3, H, W] in [0, 1].

    corner: (top, left) of the window by index in latent cells, for windows that move: the nearest one is meant.
    """

    kind: AnchorKind = AnchorKind.CENTRE
    index: int = 0
    image: Tensor | None = None
    corner: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_picture(self.kind, self.image is not None)

    def window(self, views: ViewSet) -> int | None:
        """Number of the anchor among these windows, None when the anchor is not a window."""
        if self.kind is AnchorKind.CENTRE:
            return views.centre
        if self.kind is not AnchorKind.INDEX:
            return None
        if self.corner is not None:
            return views.nearest(self.corner)
        count = len(views)
        if not -count <= self.index < count:
            raise ValueError(
                f"anchor_index must be between 0 and {count - 1} (there are {count} windows), got {self.index}; "
                f"negative numbers count from the end, down to -{count}"
            )
        return self.index % count


def check_picture(kind: AnchorKind, given: bool) -> None:
    """Raise ValueError for an anchor that is a picture where none is given."""
    if kind is AnchorKind.IMAGE and not given:
        raise ValueError(
            f"the anchor '{AnchorKind.IMAGE.value}' needs a picture; connect one to anchor_image "
            f"or choose '{AnchorKind.CENTRE.value}'"
        )
