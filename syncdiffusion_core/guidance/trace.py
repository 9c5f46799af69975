"""What a guided step did, in figures and for people."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GuidanceTrace:
    """What one guided step did.

    weight: the paper's w of all the paper's steps that this step stands for. loss: distance of each view to its
    target before the move, 0 for the reference, [V, N]. move: root-mean-square move of each view in standard
    deviations of the state, [V, N]. Of the V views of the step that may move. unmoved: how many of them were left,
    because their gradient was not finite.
    """

    step: int
    sigma: float
    weight: float
    loss: Tensor
    move: Tensor
    unmoved: int = 0

    def describe(self) -> str:
        """One line for people."""
        line = (
            f"step {self.step + 1}: at noise {self.sigma:.3g} the windows differed from their anchor by "
            f"{self.loss.mean():.4f} and were moved by {self.move.mean():.1%}"
        )
        if self.unmoved:
            line += f"; {self.unmoved} of them were left alone, because their gradient holds NaN or infinite values"
        return line
