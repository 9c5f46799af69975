"""What nodes with a prompt a line have in common."""

import node_helpers
from comfy_api.latest import io


def common_widget() -> io.String.Input:
    """Words for all prompts."""
    return io.String.Input(
        "common",
        multiline=True,
        dynamic_prompts=True,
        default="",
        tooltip="Added to every prompt behind a comma: style, light, quality. Empty for nothing.",
    )


def lines_in(prompts: str) -> list[str]:
    """The lines with text. Raises ValueError where there is none."""
    lines = [line.strip() for line in prompts.splitlines() if line.strip()]
    if not lines:
        raise ValueError("prompts: no text; write a prompt a line, or use CLIP Text Encode for one prompt")
    return lines


def encoded(clip: object, line: str, common: str, values: dict) -> list:
    """CONDITIONING of a line and the words for all, with these values."""
    text = ", ".join(filter(None, [line, common.strip()]))
    return node_helpers.conditioning_set_values(clip.encode_from_tokens_scheduled(clip.tokenize(text)), values)
