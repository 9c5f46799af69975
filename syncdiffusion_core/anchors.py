"""What the windows are pulled towards."""

from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class AnchorKind(str, Enum):
    """Which picture the windows should resemble."""

    CENTRE = "centre window"
    INDEX = "window by index"
    IMAGE = "reference image"
    MEAN = "mean of all windows"


@dataclass(frozen=True)
class Anchor:
    """An anchor; index counts windows from the top left, image is [1 or N, 3, H, W] in [0, 1].

    The centre is the paper's, of windows in a row; that of a grid is ``Windows.centre``, given as an index.
    """

    kind: AnchorKind = AnchorKind.CENTRE
    index: int = 0
    image: Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind is AnchorKind.IMAGE and self.image is None:
            raise ValueError(
                f"the anchor '{AnchorKind.IMAGE.value}' needs a picture; connect one to anchor_image "
                f"or choose '{AnchorKind.CENTRE.value}'"
            )

    def window(self, count: int) -> int | None:
        """Index of the anchor window among ``count`` windows, None when the anchor is not a window."""
        if self.kind is AnchorKind.CENTRE:
            return count // 2
        if self.kind is AnchorKind.INDEX:
            if not -count <= self.index < count:
                raise ValueError(
                    f"anchor_index must be between 0 and {count - 1} (there are {count} windows), got {self.index}"
                )
            return self.index % count
        return None
