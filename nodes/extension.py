"""What the pack registers, after a look at the host's version."""

import logging

from comfy_api.latest import ComfyExtension, io

MINIMUM_HOST = (0, 33, 0)
MODELS_FOLDER = "perceptual"


class SyncDiffusionExtension(ComfyExtension):
    """The pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes; imported here, so that an older host never builds a schema it does not know."""
        from .all_nodes import NODES

        return NODES


class TooOldExtension(ComfyExtension):
    """No nodes: the host is older than the pack's floor."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """An empty list."""
        return []


def make_extension() -> ComfyExtension:
    """The extension for this host; registers the models folder, the one thing the pack adds to the host."""
    version = _host_version()
    if version is not None and version < MINIMUM_HOST:
        logging.error(
            "ComfyUI-SyncDiffusion needs ComfyUI %s or newer and this is %s: its nodes are not loaded. "
            "Update ComfyUI and start it again.",
            ".".join(map(str, MINIMUM_HOST)),
            ".".join(map(str, version)),
        )
        return TooOldExtension()
    _register_models_folder()
    return SyncDiffusionExtension()


def _host_version() -> tuple[int, ...] | None:
    """The host's version, None where it does not say one that we can read."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return None
    parts = __version__.split("+")[0].split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else None


def _register_models_folder() -> None:
    import os

    import folder_paths

    folder_paths.add_model_folder_path(MODELS_FOLDER, os.path.join(folder_paths.models_dir, MODELS_FOLDER))
    folder_paths.folder_names_and_paths[MODELS_FOLDER][1].add(".safetensors")
