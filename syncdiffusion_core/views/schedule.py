"""Which views each step sees, and what the views are before a model is known."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from torch import Tensor

from .view_set import ViewSet


class ViewSchedule(Protocol):
    """The views of a run, step by step. every: all of them, among which the views of a step have their names.

    A view of a step is the one of its name, or stands in for it where the whole set turns.
    """

    @property
    def every(self) -> ViewSet: ...

    @property
    def largest(self) -> int:
        """Most views that a step sees."""
        ...

    @property
    def moves(self) -> bool:
        """Whether steps see different views: then only a canvas can be the state of a run."""
        ...

    def at(self, step: int) -> ViewSet:
        """The views of one step."""
        ...

    def later(self, steps: int) -> "ViewSchedule":
        """The same for a run that begins so many steps later: the second part of one that was cut in two."""
        ...


@dataclass(frozen=True)
class Still:
    """The same views at every step. last: by the weights of the last canvas, where these are others."""

    every: ViewSet
    moves: bool = False
    last: ViewSet | None = None

    @property
    def largest(self) -> int:
        """All of them."""
        return len(self.every)

    def at(self, step: int) -> ViewSet:
        """The views of one step: always the same."""
        return self.every

    def later(self, steps: int) -> "Still":
        """These."""
        return self


class CellGrid(NamedTuple):
    """What a model is made of. cell_px: pixels along a latent cell (1 for pixels); patch: cells along a patch."""

    cell_px: int
    patch: int = 1

    def along(self, name: str, pixels: int) -> int:
        """Latent cells along so many pixels. Raises ValueError, with the name, where they are no whole patches."""
        unit = self.cell_px * self.patch
        if pixels % unit:
            below = pixels // unit * unit
            sizes = f"{below} or {below + unit}" if below else f"{unit}"
            raise ValueError(f"{name} must be a multiple of {unit} px for this model, got {pixels}; use {sizes}")
        return pixels // self.cell_px


class Space(str, Enum):
    """In what the views of a canvas agree."""

    LATENT = "latents"
    RGB = "pictures"


class Resolved(NamedTuple):
    """The views of one run, made once: of latents, and the same of decoded pictures (need not be scaled copies)."""

    latent: ViewSchedule
    pixels: ViewSchedule


class ViewSpec(Protocol):
    """Views as a user gives them: what the VIEWS socket carries, before a model is known."""

    @property
    def view_px(self) -> tuple[int, int]:
        """(height, width) of what the model is shown."""
        ...

    @property
    def space(self) -> Space:
        """In what the views agree unless the user says otherwise."""
        ...

    @property
    def distinct(self) -> bool:
        """Whether the pictures of the views are meant to differ: then guidance towards one scene is refused."""
        ...

    @property
    def by_views(self) -> bool:
        """Whether a canvas of latents is decoded view by view: its own cells are no picture that a VAE knows."""
        ...

    def shown(self, canvas: Tensor) -> Tensor:
        """What people are shown of a canvas [N, C, *canvas]: [N, C, H, W]."""
        ...

    def resolve(self, canvas: tuple[int, int] | None, cells: CellGrid) -> Resolved:
        """The views for a model. canvas: (height, width) in latent cells where the user has one, else the spec's own.

        Raises ValueError for sizes that the model's cells and patches do not allow.
        """
        ...
