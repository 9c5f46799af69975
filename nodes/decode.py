"""Panorama Decode: latents to pixels without a seam where the picture wraps."""

import torch
from comfy_api.latest import io

from ..syncdiffusion_core.wrapping import crop, wrap_pad
from .host.inputs import check_vae, check_widgets, latent
from .sockets import CATEGORY


class PanoramaDecode(io.ComfyNode):
    """LATENT and VAE -> IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionPanoramaDecode",
            display_name="Panorama Decode",
            category=CATEGORY,
            description=(
                "Decodes a panorama with any VAE. Where it wraps, the latent is continued around the edge, decoded and "
                "cropped, so that both ends meet; large pictures are decoded in tiles."
            ),
            search_aliases=["vae decode", "seamless", "360", "circular", "tiled decode", "loop"],
            inputs=[
                io.Latent.Input("samples", tooltip="The panorama's latent."),
                io.Vae.Input("vae", tooltip="The VAE of the model that made it."),
                io.Boolean.Input("wrap_x", default=False, tooltip="Make the left and right edges meet."),
                io.Boolean.Input("wrap_y", default=False, tooltip="Make the top and bottom edges meet."),
                io.Int.Input(
                    "wrap_margin",
                    default=128,
                    min=8,
                    max=2048,
                    step=8,
                    advanced=True,
                    tooltip="Pixels decoded beyond a wrapping edge and cropped away; more hides the edge from VAEs "
                    "that look further.",
                ),
                io.Int.Input(
                    "tile_size",
                    default=1024,
                    min=128,
                    max=8192,
                    step=64,
                    advanced=True,
                    tooltip="Side of a tile in pixels, for pictures of more than four such tiles. Smaller tiles take "
                    "less memory.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The panorama.")],
        )

    @classmethod
    def execute(cls, samples, vae, wrap_x, wrap_y, wrap_margin, tile_size) -> io.NodeOutput:
        check_widgets(cls, wrap_margin=wrap_margin, tile_size=tile_size)
        cells = latent("samples", samples)
        check_vae("vae", vae, cells.shape[1], "the latent has")
        _check_frames(vae, cells)
        cell_px = vae.spacial_compression_decode()
        margin = -(-wrap_margin // cell_px)
        pad_x, pad_y = margin if wrap_x else 0, margin if wrap_y else 0
        image = _decode(vae, wrap_pad(cells, pad_y, pad_x), tile_size, cell_px)  # [N, H, W, 3]
        return io.NodeOutput(crop(image, pad_y * cell_px, pad_x * cell_px))


def _check_frames(vae, cells: torch.Tensor) -> None:
    """Of frames the host's VAEs of pictures would drop all but the first; those of frames fail without them."""
    if cells.ndim == 4 and vae.latent_dim == 3:
        raise ValueError(
            f"samples: it holds single pictures, shape {tuple(cells.shape)}, and this VAE decodes frames in time; "
            "connect the VAE of the model that made it"
        )
    if cells.ndim == 5 and cells.shape[2] > 1 and vae.latent_dim == 2:
        raise ValueError(
            f"samples: it has {cells.shape[2]} frames in time and this VAE decodes single pictures; connect the VAE of "
            "the model that made it"
        )


def _decode(vae, cells: torch.Tensor, tile_px: int, cell_px: int) -> torch.Tensor:
    """[N, H, W, 3]; frames of a 5-D latent become a batch, as in the host's VAE Decode."""
    if cells.ndim == 5 and vae.latent_dim == 2:
        cells = cells[:, :, 0]  # the host does so itself, but not in tiles
    if cells.shape[-2] * cells.shape[-1] * cell_px**2 > 4 * tile_px**2:
        tile = tile_px // cell_px
        image = vae.decode_tiled(cells, tile_x=tile, tile_y=tile, overlap=tile // 4)
    else:
        image = vae.decode(cells)
    return image.reshape(-1, *image.shape[-3:]) if image.ndim == 5 else image
