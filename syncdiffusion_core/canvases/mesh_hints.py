"""What cameras around an object see of it: depth, normals and outlines, as hints for networks that paint on them.

Convention: depth as disparity, one over the distance along the camera's axis, near white and far dark grey in one range
for all views, beside the object black. Normals are the camera's (OpenGL: x right, y up, z towards it) in [0, 1]; beside
the object they look at the camera.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .atlas import Atlas
from .mesh import Mesh
from .mesh_views import check_seen, told
from .orbit import Orbit
from .zbuffer import Hits

FAR = 0.1
"""Of what is farthest: the object's far end is no background."""
FACING = (0.5, 0.5, 1.0)
"""The colour of a normal that looks at the camera."""


class Seen(NamedTuple):
    """depth [V, h, w] and normals [V, h, w, 3] in [0, 1], outline [V, h, w] bool of the views of an object.

    texels [H, W] bool: of its texture that any of them sees.
    """

    depth: Tensor
    normals: Tensor
    outline: Tensor
    texels: Tensor


def look_at(mesh: Mesh, atlas: Atlas, cameras: Orbit, drawn: Iterable[tuple[int, Hits]]) -> Seen:
    """What the cameras see; drawn: see ``mesh_views.drawn``. Raises ValueError where none sees the mesh."""
    texels = torch.zeros(atlas.size[0] * atlas.size[1], dtype=torch.bool)
    views = []
    for number, hits in drawn:
        texels[told(mesh, atlas, cameras, number, hits).cells.long()] = True
        views.append((hits.inverse_depth, _normals(mesh, cameras, number, hits), hits.seen))
    check_seen(texels)
    disparity, normals, outline = (torch.stack(parts) for parts in zip(*views, strict=True))
    return Seen(_in_one_range(disparity, outline), normals, outline, texels.view(atlas.size))


def _in_one_range(disparity: Tensor, outline: Tensor) -> Tensor:
    """[V, h, w] -> the same in [FAR, 1], 0 beside the object."""
    far, near = disparity[outline].aminmax()
    share = (disparity - far) / (near - far) if near > far else torch.ones_like(disparity)
    return torch.where(outline, FAR + (1 - FAR) * share, 0)


def _normals(mesh: Mesh, cameras: Orbit, number: int, hits: Hits) -> Tensor:
    """Of the side that the camera sees, [h, w, 3] in [0, 1]: of the vertices where the mesh has them, else of faces."""
    picture = torch.tensor(FACING).repeat(*hits.face.shape, 1)
    face, shares = hits.face[hits.seen].long(), hits.shares[hits.seen].double()
    own = mesh.face_normals[face]
    if mesh.normals is None:
        normals = own
    else:
        smooth = (mesh.normals[mesh.faces[face]] * shares[..., None]).sum(dim=1)
        length = smooth.norm(dim=1, keepdim=True)
        normals = torch.where(length > 0, smooth / length, own)
    # Outside is where the vertices say, whichever way round the corners of a face are given.
    outward = own * (own * normals).sum(dim=1, keepdim=True).sign()
    way = cameras.eyes[number] - mesh.on_surface(face, shares)
    behind = (outward * way).sum(dim=1, keepdim=True) < 0
    normals = torch.where(behind, -normals, normals) @ cameras.rig.rotations[number]
    picture[hits.seen] = ((normals + 1) / 2).clamp(0, 1).float()
    return picture
