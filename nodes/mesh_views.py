"""Mesh Views: the texture of an object, seen by cameras around it."""

from comfy_api.latest import io

from ..syncdiffusion_core.canvases.atlas import Atlas, atlas_of, shared
from ..syncdiffusion_core.canvases.mesh import Mesh
from ..syncdiffusion_core.canvases.mesh_hints import Seen, look_at
from ..syncdiffusion_core.canvases.mesh_spec import MeshViews as Spec
from ..syncdiffusion_core.canvases.orbit import orbit
from ..syncdiffusion_core.views.schedule import Space
from .host.inputs import check_widgets
from .host.meshes import interruptible, mesh_of
from .host.progress import say, warn
from .sockets import CATEGORY, Views
from .sockets import Rig as RigSocket
from .sphere_views import check_rig
from .view_widgets import agree_in_widget, distance_widget, view_size_widget

BOTH_SIDES, OUTSIDE = "both sides", "outside only"
LEAST_SHARED = 0.05
"""Share of UVs that lie on each other from which it is said; counting in texels may be off by some hundredths."""


class MeshViews(io.ComfyNode):
    """MESH, RIG and sizes -> VIEWS and hints for them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionMeshViews",
            display_name="Mesh Views",
            category=CATEGORY,
            description=(
                "Describes the texture of a mesh by views of it from cameras around it, which any model can paint: "
                "View Sampler denoises all of them into one texture. Depth and normals are the hints by which a "
                "ControlNet keeps to the object's form."
            ),
            search_aliases=["texture", "mesh", "uv", "3d", "texturing", "multi-view", "projection", "depth", "normals"],
            inputs=[
                io.Mesh.Input("mesh", tooltip="A mesh with UVs: from UnwrapMesh, or loaded with them."),
                RigSocket.Input(
                    "rig",
                    tooltip="From Camera Rig; here its cameras stand around the object and look inward. 'texture' is "
                    "made for it.",
                ),
                io.Int.Input(
                    "atlas_size", default=1024, min=64, max=8192, step=8, tooltip="Side of the texture in pixels."
                ),
                view_size_widget(),
                distance_widget("the object", "it"),
                agree_in_widget("turn with their pictures"),
                io.Combo.Input(
                    "faces",
                    options=[BOTH_SIDES, OUTSIDE],
                    default=BOTH_SIDES,
                    advanced=True,
                    tooltip="From where faces are seen. both sides: sheets and leaves too, and faces the wrong way "
                    "round. outside only: a room is seen into through its walls.",
                ),
            ],
            outputs=[
                Views.Output(
                    display_name="views",
                    tooltip="The views, for View Sampler, Synchronise Views or Bake Views to Texture.",
                ),
                io.Int.Output(display_name="count", tooltip="How many there are: the batch size of a latent of them."),
                io.Image.Output(
                    display_name="depth",
                    tooltip="A depth hint for each view: disparity in one range for all of them, near white, the "
                    "background black.",
                ),
                io.Image.Output(
                    display_name="normals",
                    tooltip="A normal hint for each view, as its camera sees them (OpenGL); the background looks at "
                    "the camera.",
                ),
                io.Mask.Output(display_name="mask", tooltip="White where a view shows the object, a mask for each."),
                io.Mask.Output(
                    display_name="unseen",
                    tooltip="White where the texture shows nothing that a camera sees well, between its parts too.",
                ),
            ],
        )

    @classmethod
    def execute(cls, mesh, rig, atlas_size, view_size, distance, agree_in, faces) -> io.NodeOutput:
        check_rig(rig)
        given = {"atlas_size": atlas_size, "view_size": view_size, "distance": distance}
        check_widgets(cls, **given, agree_in=agree_in, faces=faces)
        made = mesh_of("mesh", mesh)
        cameras, size, view = orbit(rig, made.ball, distance), (atlas_size, atlas_size), (view_size, view_size)
        spec = Spec(made, cameras, size, view, Space(agree_in), cull=faces == OUTSIDE, watched=interruptible)
        atlas = atlas_of(made, size)
        seen = look_at(made, atlas, cameras, spec.drawn(view))
        _say(made, atlas, seen)
        return io.NodeOutput(
            spec,
            len(rig),
            seen.depth[..., None].expand(-1, -1, -1, 3).contiguous(),
            seen.normals,
            seen.outline.float(),
            (~seen.texels).float()[None],
        )


def _say(mesh: Mesh, atlas: Atlas, seen: Seen) -> None:
    """How much of the texture the views see, and what would be wrong with it."""
    share = float(seen.texels.flatten()[atlas.cells].sum()) / len(atlas.cells)
    say(f"{len(seen.depth)} views: {share:.0%} of the surface in the texture is seen")
    twice = shared(mesh, atlas)
    if twice > LEAST_SHARED:
        warn(
            f"mesh: {twice:.0%} of its surface lies on other parts of it in the texture, and only one of them is "
            "painted; connect UnwrapMesh in front"
        )
