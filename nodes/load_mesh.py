"""Load Mesh: a 3D file as a mesh that can be unwrapped, rendered and painted."""

from comfy_api.latest import Types, io

from ..syncdiffusion_core.mesh_files.read import MeshFile
from .host.files.meshes import NONE, choices, found, load
from .host.inputs import UNCONNECTED, told
from .host.progress import say
from .sockets import CATEGORY


class LoadMesh(io.ComfyNode):
    """FILE_3D or a file of the input folder -> MESH."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionLoadMesh",
            display_name="Load Mesh",
            category=CATEGORY,
            description=(
                "Makes a mesh of a 3D file (GLB, glTF, OBJ, STL, PLY), with its UVs, normals, colours and base colour "
                "texture, everything where its scene puts it: to unwrap it, to render it or to paint its texture."
            ),
            search_aliases=["3d file to mesh", "import mesh", "glb to mesh", "obj", "gltf", "stl", "ply", "model"],
            inputs=[
                io.Combo.Input(
                    "model_file",
                    options=choices(),
                    default=NONE,
                    tooltip="A file of ComfyUI's folder input/3d, where Load 3D puts what is dropped on it; R looks "
                    "again. Of no effect with model_3d connected.",
                ),
                io.MultiType.Input(
                    io.File3DAny.Input("model_3d", optional=True),
                    types=[io.File3DGLB, io.File3DGLTF, io.File3DOBJ, io.File3DSTL, io.File3DPLY],
                    tooltip="A 3D file of another node instead: Load 3D, a generator, Create 3D File (from Mesh).",
                ),
            ],
            outputs=[
                io.Mesh.Output(
                    display_name="mesh",
                    tooltip="All that the file's scene shows, as one mesh. The line under the node says what it has.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, model_file=None, model_3d=UNCONNECTED):
        """Whether there is a file. None for a name that another node will give."""
        if model_file is None or model_3d is not UNCONNECTED:
            return True
        return told(lambda: _chosen(model_file))

    @classmethod
    def fingerprint_inputs(cls, model_file=None, model_3d=None):
        """Another file of the same name is another mesh."""
        try:
            state = found(model_file).stat()
        except (ValueError, OSError):  # ``execute`` says it better, or does not need it
            return model_file
        return model_file, state.st_size, state.st_mtime_ns

    @classmethod
    def execute(cls, model_file, model_3d=None) -> io.NodeOutput:
        if model_3d is None:
            mesh = load(_chosen(model_file), "model_file")
        else:
            mesh = load(model_3d, "model_3d")
        say("\n".join([described(mesh), *mesh.remarks]))
        return io.NodeOutput(_hosts(mesh))


def described(mesh: MeshFile) -> str:
    """One line for people."""
    has = [
        *(["UVs"] if mesh.uvs is not None else ["no UVs (UnwrapMesh makes them)"]),
        *(["normals"] if mesh.normals is not None else []),
        *(["colours"] if mesh.colours is not None else []),
        *([f"a texture of {mesh.texture.shape[1]} x {mesh.texture.shape[0]} px"] if mesh.texture is not None else []),
    ]
    return f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces; {', '.join(has)}"


def _chosen(model_file: object) -> object:
    """The path of the file that is chosen. Raises ValueError for none."""
    if model_file == NONE:
        raise ValueError("model_file: no file is chosen; choose one, or connect Load 3D to model_3d")
    return found(model_file)


def _hosts(mesh: MeshFile) -> Types.MESH:
    """The same as the host's MESH, a batch of one."""
    fields = {"uvs": mesh.uvs, "vertex_colors": mesh.colours, "normals": mesh.normals, "texture": mesh.texture}
    batched = {name: value[None] for name, value in fields.items() if value is not None}
    return Types.MESH(mesh.vertices[None], mesh.faces[None], **batched)
