"""Fails on what has no fixed order on CUDA; the same as in test_deterministic_sums, which may import it from here."""

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

UNORDERED = {
    *("index_add", "index_add_", "index_reduce", "index_reduce_", "index_copy", "index_copy_", "put", "put_"),
    *("scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "segment_reduce"),
    *("bincount", "histc", "cumsum", "cumsum_", "kthvalue", "embedding_dense_backward", "_embedding_bag"),
    *("upsample_bilinear2d_backward", "grid_sampler_2d_backward", "_adaptive_avg_pool2d_backward"),
}
"""By the documentation of ``torch.use_deterministic_algorithms`` (2.5 to 2.9)."""

INDEX_PUTS = {"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}
"""Ordered on CUDA where no place is written twice."""


class OneOrder(TorchDispatchMode):
    """Fails on an operation whose result on CUDA depends on the order of threads; the backward passes' too."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in UNORDERED, f"{name} has no fixed order on CUDA"
        if name in INDEX_PUTS:
            accumulates = args[3] if len(args) > 3 else (kwargs or {}).get("accumulate", False)
            assert not accumulates, f"{name} accumulates"
            assert _distinct(args[1]), f"{name} writes one place twice"
        return func(*args, **(kwargs or {}))


def _distinct(indices: list[Tensor | None]) -> bool:
    (given,) = (index for index in indices if index is not None)
    return given.unique().numel() == given.numel()
