"""View Sampler: views of any canvas, denoised into one."""

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io

from ..syncdiffusion_core.guidance.trace import GuidanceTrace
from ..syncdiffusion_core.sampling import Sampled
from ..syncdiffusion_core.strategies import Synchronisation
from ..syncdiffusion_core.views.noise import noise_of
from ..syncdiffusion_core.views.schedule import Resolved
from .host.inputs import check_widgets, conditioning, mask, told
from .host.run.checks import check_latent
from .host.run.layout import cells_of, check_views
from .host.run.plan import refuse_other_samplers
from .host.run.view_plan import ViewPlan
from .host.run.view_sampler import make_view_sampler
from .host.run.views_shown import canvas_image
from .panorama_sampler import LARGEST_SEED, schedule_of
from .sockets import CATEGORY, Guidance, Views
from .synchronise_views import agree_in_widget, agreeing_of, decoder_widget


class ViewSampler(io.ComfyNode):
    """Noise and VIEWS -> the views' latents and their canvas."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionViewSampler",
            display_name="View Sampler",
            category=CATEGORY,
            description=(
                "Denoises all views of a canvas together, so that at the end they are views of one picture "
                "(SyncTweedies): ambiguous images from Image Views, and whatever other nodes make views of."
            ),
            search_aliases=["synctweedies", "visual anagrams", "ambiguous image", "optical illusion", "multi-view"],
            inputs=_inputs(),
            outputs=[
                io.Latent.Output(display_name="views", tooltip="A latent for each view, in their order."),
                io.Image.Output(display_name="canvas", tooltip="The picture that all of them are views of."),
                io.String.Output(display_name="trace", tooltip="A line for each guided step; empty without guidance."),
            ],
        )

    @classmethod
    def validate_inputs(cls, sampler_name=None, synchronisation=None):
        """Whether the sampler goes with the strategy."""

        def check() -> None:
            check_widgets(cls, sampler_name=sampler_name, synchronisation=synchronisation)
            if None not in (sampler_name, synchronisation):
                sampler = comfy.samplers.sampler_object(sampler_name)
                refuse_other_samplers(Synchronisation(synchronisation), sampler, Synchronisation.SYNCTWEEDIES)

        return told(check)

    @classmethod
    def execute(cls, model, views, positive, negative, vae=None, guidance=None, latent_image=None, **widgets):
        check_widgets(cls, **widgets)
        check_views(views)
        resolved, seed = views.resolve(None, cells_of(model.model)), widgets["seed"]
        latent = _latent(model, resolved, latent_image, widgets["batch_size"])
        noise = _noise(latent, resolved, seed)
        inner = comfy.samplers.sampler_object(widgets["sampler_name"])
        traces: list[GuidanceTrace] = []
        made: list[tuple[Sampled, bool]] = []
        plan = ViewPlan(
            spec=views,
            resolved=resolved,
            inner=inner,
            noise=noise,
            synchronisation=Synchronisation(widgets["synchronisation"]),
            agreeing=agreeing_of(views, widgets["agree_in"], widgets["decoder"], vae),
            guidance=guidance,
            windows_per_batch=widgets["views_per_batch"],
            on_end=lambda *ended: made.append(ended),
            on_trace=traces.append,
        )
        sigmas = schedule_of(model, widgets)
        samples = comfy.sample.sample_custom(
            model,
            noise_of(resolved.latent.every, noise),
            widgets["cfg"],
            make_view_sampler(plan),
            sigmas,
            conditioning("positive", positive),
            conditioning("negative", negative),
            latent,
            noise_mask=_noise_mask(latent_image, latent),
            callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        (sampled, of_latents), *_ = made
        image = canvas_image(model.model, plan, sampled, of_latents)
        return io.NodeOutput({"samples": samples}, image, "\n".join(step.describe() for step in traces))


def _inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The model that denoises each view."),
        Views.Input("views", tooltip="From Image Views, or another node that makes views."),
        io.Conditioning.Input("positive", tooltip="What the views should show: View Prompts gives each its own."),
        io.Conditioning.Input("negative", tooltip="What no view should show."),
        io.Vae.Input(
            "vae",
            optional=True,
            tooltip="Decodes the canvas, and every view at every step where views agree in pictures. Models that paint "
            "pixels need none.",
        ),
        Guidance.Input(
            "guidance",
            optional=True,
            tooltip="From Perceptual Sync Guidance; not for views that are meant to differ (ambiguous images).",
        ),
        io.Latent.Input(
            "latent_image",
            optional=True,
            tooltip="Views to start from with denoise below 1, a latent for each in their order, and a noise mask of "
            "what may change: a picture of 360 degrees through Equirect to Views and VAE Encode. Empty without.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=LARGEST_SEED,
            control_after_generate=True,
            tooltip="Seed of the canvas's noise, which its views share: the same seed gives the same picture.",
        ),
        io.Int.Input("steps", default=30, min=1, max=10000, tooltip="Number of denoising steps; the paper uses 30."),
        io.Float.Input(
            "cfg", default=10.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="Classifier-free guidance scale."
        ),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="ddim",
            tooltip="The sampling rule. ddim and euler run every strategy; others run synctweedies only.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            default="ddim_uniform",
            tooltip="How noise levels are spaced.",
        ),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.01,
            max=1.0,
            step=0.01,
            tooltip="Share of the schedule to run; below 1 the pictures of latent_image show through.",
        ),
        io.Combo.Input(
            "synchronisation",
            options=Synchronisation,
            default=Synchronisation.SYNCTWEEDIES,
            tooltip="What is averaged over the views. synctweedies: their clean predictions (the paper's choice). The "
            "others average noise or noisy latents, or keep one noisy canvas, and need views that agree in latents.",
        ),
        agree_in_widget(),
        io.Int.Input(
            "batch_size",
            default=1,
            min=1,
            max=4096,
            advanced=True,
            tooltip="Pictures to make, each of all views; with latent_image, as many as it has latents for.",
        ),
        io.Int.Input(
            "views_per_batch",
            default=0,
            min=0,
            max=4096,
            advanced=True,
            tooltip="Views in one model call; 0 takes what fits in memory. The picture depends on it by rounding.",
        ),
        decoder_widget(),
    ]


def _latent(model: object, resolved: Resolved, given: dict | None, pictures: int) -> torch.Tensor:
    """The views to start from: [V*N, C, …, h, w], empty where none are given."""
    views, latent_format = resolved.latent.every, model.get_model_object("latent_format")
    if given is None:
        frames = [1] * (latent_format.latent_dimensions - 2)
        empty = torch.zeros(len(views) * pictures, latent_format.latent_channels, *frames, *views.view)
        return empty.to(comfy.model_management.intermediate_device())
    check_latent(given, model)
    samples = comfy.sample.fix_empty_latent_channels(model, given["samples"])
    if len(samples) % len(views) or tuple(samples.shape[-2:]) != views.view:
        raise ValueError(
            f"latent_image: {len(samples)} latents of {samples.shape[-1]} x {samples.shape[-2]} cells for {len(views)} "
            f"views of {views.view[1]} x {views.view[0]}; give one for each view, as View Sampler gives"
        )
    return samples


def _noise_mask(given: dict | None, latent: torch.Tensor) -> torch.Tensor | None:
    """Of the views' latents, [1 or V*N, 1, …, H, W]: the host would take a batch for frames where latents have them."""
    if given is None or given.get("noise_mask") is None:
        return None
    name = "latent_image: its noise mask"
    masks = mask(name, given["noise_mask"])
    if len(masks) not in (1, len(latent)):
        raise ValueError(f"{name} is a batch of {len(masks)} for {len(latent)} latents; give one mask, or one for each")
    return masks.reshape(-1, *[1] * (latent.ndim - 3), *masks.shape[-2:])


def _noise(latent: torch.Tensor, resolved: Resolved, seed: int) -> torch.Tensor:
    """Of the canvas, as the host draws a latent's: [N, C, …, *canvas]."""
    views = resolved.latent.every
    shape = (len(latent) // len(views), *latent.shape[1:-2], *views.canvas)
    return comfy.sample.prepare_noise(latent.new_zeros(shape), seed)
