"""Widgets of every node that makes views from the cameras of a rig."""

from comfy_api.latest import io

from ..syncdiffusion_core.views.schedule import Space


def view_size_widget(
    tooltip: str = "Side of every view in pixels: the model's own resolution (512 for SD 1.5, 1024 for SDXL).",
) -> io.Int.Input:
    """Side of square views."""
    return io.Int.Input("view_size", default=512, min=64, max=4096, step=8, tooltip=tooltip)


def distance_widget(what: str, fits: str) -> io.Float.Input:
    """From an object to the cameras around it. what: in whose middle; fits: what a distance of 0 lets fit the views."""
    return io.Float.Input(
        "distance",
        default=0.0,
        min=0.0,
        max=10000.0,
        step=0.01,
        tooltip=f"From the middle of {what} to every camera, in units of its own; 0 lets {fits} fit the views. Cameras "
        "of Create Camera Info or Load 3D stay where they stand.",
    )


def agree_in_widget(why_softer: str) -> io.Combo.Input:
    """In what views are brought together. why_softer: end of the sentence on latents."""
    return io.Combo.Input(
        "agree_in",
        options=[each.value for each in (Space.RGB, Space.LATENT)],
        default=Space.RGB.value,
        advanced=True,
        tooltip="In what the views are brought together at every step. pictures: decoded and encoded again, which "
        f"keeps edges. latents: much faster, and softer, as latents do not {why_softer}.",
    )
