"""What the GPU check does to the host and to torch around a run; all but streaming ends with its block."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from PIL.Image import Image

NOT_DETERMINISTIC = " does not have a deterministic implementation"


@contextmanager
def limited(allocated: float) -> Iterator[None]:
    """Torch's allocator may hold so many bytes; the host does not know, as when its estimate is wrong."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, allocated / torch.cuda.mem_get_info()[1]))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@contextmanager
def crowded(left: float) -> Iterator[None]:
    """So many bytes of the device are free: the others are held, as by another program, and the host sees that."""
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    ballast = torch.empty(max(0, int(free - left)), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del ballast
        torch.cuda.empty_cache()


@contextmanager
def weights_on_processor() -> Iterator[None]:
    """Weights stay in main memory and go to the device layer by layer, as under --novram."""
    import comfy.model_management as management

    before = management.vram_state
    management.unload_all_models()
    management.vram_state = management.VRAMState.NO_VRAM
    try:
        yield
    finally:
        management.vram_state = before
        management.unload_all_models()


@contextmanager
def previews() -> Iterator[list[Image]]:
    """The pictures that the host shows of each step, by Latent2RGB."""
    import comfy.utils
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod

    shown: list[Image] = []

    def keep(value: int, total: int, preview: tuple | None, node_id: str | None = None) -> None:
        if preview is not None:
            shown.append(preview[1])

    method, hook = latent_preview.default_preview_method, comfy.utils.PROGRESS_BAR_HOOK
    latent_preview.default_preview_method = LatentPreviewMethod.Latent2RGB
    comfy.utils.set_progress_bar_global_hook(keep)
    try:
        yield shown
    finally:
        latent_preview.default_preview_method = method
        comfy.utils.set_progress_bar_global_hook(hook)


@contextmanager
def undetermined() -> Iterator[set[str]]:
    """The operations of which torch says that two equal runs of them may differ; complete when the block ends."""
    found: set[str] = set()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield found
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            found |= {name for each in caught if (name := operation(str(each.message))) is not None}


def operation(warning: str) -> str | None:
    """The operation that one of torch's warnings about determinism names; None of other warnings."""
    if NOT_DETERMINISTIC in warning:
        return warning.split(NOT_DETERMINISTIC)[0].strip()
    if "CuBLAS" in warning:
        return "matrix products (CuBLAS without CUBLAS_WORKSPACE_CONFIG)"
    if "non-deterministic" in warning or "not deterministic" in warning:
        return warning.splitlines()[0][:100]
    return None


def prepare_streaming() -> None:
    """Load the host's library of dynamic VRAM, which it wants to find before its own modules are imported."""
    import comfy_aimdo.control

    comfy_aimdo.control.init()


def stream_weights() -> None:
    """Dynamic VRAM for all models that are made from now on, as the host's main.py turns it on. It stays on."""
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    import comfy_aimdo.control

    if comfy.memory_management.aimdo_enabled:
        return
    if not comfy_aimdo.control.init_devices([comfy.model_management.get_torch_device().index]):
        raise RuntimeError("comfy-aimdo does not start on this device, so there is no dynamic VRAM")
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True
