"""Fails on what has no fixed order on CUDA: whoever sums over views makes his sums inside it."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

UNORDERED = {
    *("index_add", "index_add_", "index_reduce", "index_reduce_", "index_copy", "index_copy_", "put", "put_"),
    *("scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "segment_reduce"),
    *("bincount", "histc", "cumsum", "cumsum_", "kthvalue", "embedding_dense_backward", "_embedding_bag"),
    *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "max_pool3d_with_indices_backward", "fractional_max_pool2d_backward"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "upsample_trilinear3d_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"),
    *("replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "nll_loss2d_forward", "_ctc_loss_backward"),
}
"""Whose order on CUDA is not fixed, by the documentation of ``torch.use_deterministic_algorithms`` (2.5 to 2.9)."""
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
    given = [index for index in indices if index is not None]
    if given[0].dtype == torch.bool:
        return True
    places = torch.stack([index.flatten() for index in torch.broadcast_tensors(*given)])
    return places.unique(dim=1).shape[1] == places.shape[1]
