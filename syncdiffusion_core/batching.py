"""Views in batches: how many go through a model at once, and fewer of them once memory has run out."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")

ALONE = (
    "Not even one window fits in memory. Use smaller windows, close other programs that hold memory, choose a guidance "
    "gradient that does not go through the model, or a lighter VAE."
)


def is_torch_out_of_memory(error: Exception) -> bool:
    """Whether torch says that a device's memory is used up."""
    return isinstance(error, torch.OutOfMemoryError)


class WindowBatches:
    """Views in one model call, during one run: halved, and the batch done again, whenever memory runs out.

    size: views in a batch, now; it only ever falls. is_out_of_memory: tells such errors from all others, which pass.
    on_shrink: called with the new size before the batch is done again, when nothing holds the failed one's tensors:
    the place to empty caches and to tell the user. smallest: views that have to stay together; remedy: what the error
    says when these do not fit.
    """

    def __init__(
        self,
        size: int,
        is_out_of_memory: Callable[[Exception], bool] = is_torch_out_of_memory,
        on_shrink: Callable[[int], None] | None = None,
        smallest: int = 1,
        remedy: str = ALONE,
    ) -> None:
        if size < 1:
            raise ValueError(f"windows per batch must be at least 1, got {size}; 1 is window by window")
        self.size = size
        self._is_out_of_memory, self._on_shrink = is_out_of_memory, on_shrink
        self._smallest, self._remedy = smallest, remedy

    @classmethod
    def of(cls, size: "int | WindowBatches") -> "WindowBatches":
        """The batches meant by a number of views, or those given."""
        return size if isinstance(size, WindowBatches) else cls(size)

    def each(self, views: Sequence[int], body: Callable[[tuple[int, ...]], T]) -> Iterator[tuple[tuple[int, ...], T]]:
        """body(batch of views) for all of these views: yields (views, what body returned for their batch).

        A batch may be longer than its views: its last one repeated (see ``batches``); what was returned for the rest
        is to be dropped. body may be called again after it has failed, so it must leave nothing behind: write down its
        result outside, in the loop over this.
        """
        left = tuple(views)
        while left:
            for picks, real in batches(len(left), self.size):
                batch = tuple(left[pick] for pick in picks)
                result = self._result(batch, body)
                if result is None:
                    left = left[picks[0] :]
                    break
                yield batch[:real], result[0]
            else:
                return

    def alone(self, body: Callable[[], T]) -> T:
        """What body returns, that needs as much as one view; an error says what to do if memory runs out in it."""
        ((_, result),) = self.each((0,), lambda _: body())
        return result

    def _result(self, batch: tuple[int, ...], body: Callable[[tuple[int, ...]], T]) -> tuple[T] | None:
        """What body returns, in a tuple; None when the batch has to be halved."""
        try:
            return (body(batch),)
        except Exception as error:
            if not self._is_out_of_memory(error):
                raise
            if len(batch) <= self._smallest:
                error.args = (f"{error}\n{self._remedy}",)
                raise
        # Only here is the error gone, and with its traceback the frames that held the batch's tensors.
        self.size = max(len(batch) // 2, self._smallest)
        if self._on_shrink is not None:
            self._on_shrink(self.size)
        return None


def batches(view_count: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Split the views into batches of one size: yields (view indices, how many of them are real).

    The last batch is padded by repeating its last view, so that a compiled model sees one shape and memory
    follows the batch, not the canvas. Sizes are levelled first: 21 views by 16 are 11 + 10, not 16 + 5.
    """
    if size < 1:
        raise ValueError(f"windows per batch must be at least 1, got {size}")
    count = -(-view_count // size)
    if count == 0:
        return
    size = -(-view_count // count)
    for start in range(0, view_count, size):
        views = tuple(range(start, min(start + size, view_count)))
        yield views + (views[-1],) * (size - len(views)), len(views)
