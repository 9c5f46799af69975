"""Load Demo Model: the pack's own tiny landscape model, and the one of it that looks around."""

from comfy_api.latest import io

from .host.files.demo_model import load_demo_around, load_demo_control, load_demo_model
from .sockets import CATEGORY


class LoadDemoModel(io.ComfyNode):
    """-> MODEL, CLIP, VAE, CONTROL_NET."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionLoadDemoModel",
            display_name="Load Demo Model",
            category=CATEGORY,
            description=(
                "Loads the pack's own small landscape model, so that everything can be tried without a download. It "
                "paints 128 px windows of mountains, forest, desert, lake and meadow at dawn, noon, sunset, dusk and "
                "night; leave the time of day out of the prompt to see windows disagree."
            ),
            search_aliases=["demo", "example model", "test checkpoint", "landscape"],
            inputs=[],
            outputs=[
                *_outputs(),
                io.ControlNet.Output(
                    display_name="horizon_control",
                    tooltip=(
                        "A ControlNet that puts the skyline where you draw it. Its hint is a picture or mask of the "
                        "canvas: white land below the skyline, black sky above. Connect it to the positive "
                        "prompt only, so that CFG presses for the drawing; skylines a fifth to three fifths of the "
                        "height below the top are what this world has."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        control = load_demo_control()  # what may be damaged, before the rest is made
        return io.NodeOutput(*load_demo_model(), control)


class LoadDemoModelAround(io.ComfyNode):
    """-> MODEL, CLIP, VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionLoadDemoModelAround",
            display_name="Load Demo Model (360)",
            category=CATEGORY,
            description=(
                "Loads the pack's own small landscape model as it looks around: it also paints views of 128 px of the "
                "sky overhead and the ground underfoot, when the prompt says up, zenith, down or nadir."
            ),
            search_aliases=["demo", "example model", "360", "equirectangular", "landscape"],
            inputs=[],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_around())


def _outputs() -> list:
    return [
        io.Model.Output(display_name="model", tooltip="The denoiser; windows of 128 px."),
        io.Clip.Output(display_name="clip", tooltip="Understands the words of its own captions only."),
        io.Vae.Output(display_name="vae", tooltip="4 channels, 8 px a latent cell, like Stable Diffusion's."),
    ]
