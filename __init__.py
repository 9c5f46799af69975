"""ComfyUI-SyncDiffusion: coherent panoramas by synchronised diffusion. Entry point only."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> "ComfyExtension":
    """What ComfyUI calls once at start; nodes are imported only after the host's version was checked."""
    from .nodes.extension import make_extension

    return make_extension()
