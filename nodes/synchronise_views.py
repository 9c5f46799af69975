"""Synchronise Views: SyncTweedies under any stock sampler."""

from comfy_api.latest import io

from ..syncdiffusion_core.views.schedule import Space, ViewSpec
from .host.gradient.codec import Agreeing
from .host.gradient.decoder import Look
from .host.inputs import check_widgets
from .host.run.layout import check_views
from .host.run.synchronised import synchronise_views
from .sockets import CATEGORY, Views

OF_VIEWS = "as the views say"


class SynchroniseViews(io.ComfyNode):
    """MODEL and VIEWS -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionSynchroniseViews",
            display_name="Synchronise Views",
            category=CATEGORY,
            description=(
                "Lets a model denoise a batch of views into one canvas, under any sampler of ComfyUI: after every "
                "prediction the views are made to agree (SyncTweedies). Give the sampler an empty latent with as many "
                "images as there are views. For guidance, other strategies and the canvas itself, use View Sampler."
            ),
            search_aliases=["synctweedies", "visual anagrams", "optical illusion", "multi-view", "model patch"],
            inputs=[
                io.Model.Input("model", tooltip="The model to give views; the one connected stays as it is."),
                Views.Input("views", tooltip="From Image Views, or another node that makes views."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Needed where views agree in pictures: each is decoded and encoded at every step. Models "
                    "that paint pixels need none.",
                ),
                agree_in_widget(),
                decoder_widget(),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For a sampler, with a batch of views.")],
        )

    @classmethod
    def execute(cls, model, views, agree_in, decoder, vae=None) -> io.NodeOutput:
        check_widgets(cls, agree_in=agree_in, decoder=decoder)
        check_views(views)
        return io.NodeOutput(synchronise_views(model, views, agreeing_of(views, agree_in, decoder, vae)))


def agree_in_widget() -> io.Combo.Input:
    """In what views agree, of every node that makes them agree."""
    return io.Combo.Input(
        "agree_in",
        options=[OF_VIEWS, *Space],
        default=OF_VIEWS,
        advanced=True,
        tooltip="pictures: exact for any view, at the price of the VAE at every step. latents: cheap, and right "
        "where views only move cells of a model that paints pixels.",
    )


def decoder_widget() -> io.Combo.Input:
    """What views that agree in pictures see each other through, of every node that makes them agree."""
    return io.Combo.Input(
        "decoder",
        options=[Look.FULL, Look.LIGHT],
        default=Look.FULL,
        advanced=True,
        tooltip="What decodes and encodes views that agree in pictures. full: the VAE. light: TAESD's two files from "
        "models/vae_approx, or the demo model's own; without a light encoder, the VAE encodes.",
    )


def agreeing_of(views: ViewSpec, agree_in: str, decoder: str, vae: object | None) -> Agreeing:
    """What those widgets mean for these views."""
    return Agreeing(views.space if agree_in == OF_VIEWS else Space(agree_in), vae, Look(decoder))
