"""What a run says while it works."""

import logging

from comfy_execution.utils import get_executing_context
from server import PromptServer


def say(text: str) -> None:
    """Show a line under the node that is running; nowhere when no server or no node is (library use)."""
    context = get_executing_context()
    server = getattr(PromptServer, "instance", None)
    if context is not None and server is not None:
        server.send_progress_text(text, context.node_id)


def warn(text: str) -> None:
    """The same for what the user should act on; it stands in the log as well."""
    logging.warning("SyncDiffusion %s", text)
    say(text)
