"""Load Perceptual Model: the network that says how unlike two pictures look."""

from comfy_api.latest import io

from .host.files.perceptual_files import BUILT_IN, check, choices, load, state
from .host.gradient.perceptual import PerceptualModel
from .sockets import CATEGORY, Perceptual


class LoadPerceptualModel(io.ComfyNode):
    """A file, the built-in network or a download -> PERCEPTUAL_MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionLoadPerceptualModel",
            display_name="Load Perceptual Model",
            category=CATEGORY,
            description=(
                "Loads the network that guidance and Panorama Coherence compare pictures with, from models/perceptual. "
                "Choosing a download fetches it once, checks its hash and keeps it there as safetensors."
            ),
            search_aliases=["lpips", "vgg", "alexnet", "squeezenet", "style loss", "perceptual"],
            inputs=[
                io.Combo.Input(
                    "perceptual_name",
                    options=choices(),
                    default=BUILT_IN,
                    tooltip="LPIPS vgg is the paper's network for real models. The built-in scene network belongs to "
                    "the demo model; its style form compares colours and textures, not places. A download is made "
                    "only when the graph runs with it chosen.",
                )
            ],
            outputs=[
                Perceptual.Output(display_name="perceptual_model", tooltip="For guidance and Panorama Coherence.")
            ],
        )

    @classmethod
    def validate_inputs(cls, perceptual_name=None):
        """Before the run: a file that has gone, or is damaged. None for a name that another node will give."""
        if perceptual_name is None:
            return True
        try:
            check(perceptual_name)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, perceptual_name=None):
        """Another file of the same name is another network."""
        return perceptual_name and state(perceptual_name)

    @classmethod
    def execute(cls, perceptual_name) -> io.NodeOutput:
        return io.NodeOutput(PerceptualModel.wrap(load(perceptual_name), perceptual_name))
