"""Perceptual Sync Guidance: what pulls the windows together, and how hard."""

from collections.abc import Iterator

from comfy_api.latest import io

from ..syncdiffusion_core.guidance.pullbacks import Gradient
from ..syncdiffusion_core.guidance.spectrum import SpectrumSource
from ..syncdiffusion_core.guidance.targets import AnchorKind, check_picture, make_target
from ..syncdiffusion_core.schedule import Clock, GuidanceSchedule
from .host.inputs import UNCONNECTED, check_connected, check_widgets, picture, told
from .host.inputs import mask as canonical_mask
from .host.progress import say
from .host.run.savings import PRESETS, Preset
from .host.run.settings import GuidanceSettings
from .sockets import CATEGORY, Guidance, Perceptual
from .sockets import Savings as SavingsSocket
from .sockets import Spectrum as SpectrumSocket

OF_PRESET = "as the preset says"


class PerceptualSyncGuidance(io.ComfyNode):
    """VAE, perceptual model and schedule -> SYNC_GUIDANCE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionGuidance",
            display_name="Perceptual Sync Guidance",
            category=CATEGORY,
            description=(
                "Pulls all windows of a panorama towards one scene while they are denoised (SyncDiffusion, Eq. 14): "
                "each window follows the gradient of its perceptual distance to the anchor."
            ),
            search_aliases=["syncdiffusion", "coherence", "lpips guidance", "panorama consistency", "global style"],
            inputs=_inputs(),
            outputs=[Guidance.Output(display_name="guidance", tooltip="For a SyncDiffusion sampler.")],
        )

    @classmethod
    def validate_inputs(
        cls, perceptual_model=None, anchor=None, anchor_image=UNCONNECTED, start_percent=None, end_percent=None
    ):
        """Whether the anchor has its picture, and the range its ends in order.

        perceptual_model: a socket that is always linked, for the host to hang the words on.
        """

        def check() -> None:
            check_widgets(cls, anchor=anchor, start_percent=start_percent, end_percent=end_percent)
            if anchor is not None:
                check_picture(AnchorKind(anchor), anchor_image is not UNCONNECTED)
            if None not in (start_percent, end_percent):
                GuidanceSchedule(start=start_percent, end=end_percent)

        return told(check)

    @classmethod
    def execute(
        cls, perceptual_model, weight, vae=None, anchor_image=None, mask=None, spectrum=None, savings=None, **widgets
    ) -> io.NodeOutput:
        check_connected("perceptual_model", perceptual_model, "add a Load Perceptual Model node")
        check_widgets(cls, **widgets)  # but for the weight: a network of one's own may need more than the widget has
        preset, anchor = Preset(widgets.get("preset", Preset.REFERENCE)), AnchorKind(widgets["anchor"])
        own = None if widgets["gradient"] == OF_PRESET else Gradient(widgets["gradient"])
        chosen = PRESETS[preset] if savings is None else savings
        prior = SpectrumSource(widgets.get("prior", SpectrumSource.NATURAL))
        image = None if anchor_image is None else picture("anchor_image", anchor_image).movedim(-1, 1)  # [N, 3, H, W]
        when = (widgets[name] for name in ("decay", "start_percent", "end_percent", "every_n"))
        settings = GuidanceSettings(
            vae=vae,
            perceptual=perceptual_model,
            schedule=GuidanceSchedule(weight, *when, Clock(widgets["schedule"])),
            target=make_target(anchor, widgets["anchor_index"], image),
            gradient=own or chosen.gradient,
            max_move=widgets["max_move"] or None,
            mask=None if mask is None else canonical_mask("mask", mask),
            savings=chosen,
            spectrum=spectrum,
            spectrum_source=prior if spectrum is None else SpectrumSource.MEASURED,
        )
        unused = [*_unused_anchors(anchor, widgets["anchor_index"], image is not None)]
        said = [*unused, *_remarks(settings, preset, own, savings is not None)]
        say("\n".join([settings.describe(), *said]))
        return io.NodeOutput(settings)


def _inputs() -> list[io.Input]:
    return [
        io.Vae.Input(
            "vae",
            optional=True,
            tooltip="The VAE of the model: guidance looks at decoded pictures. Models of pixels need none.",
        ),
        Perceptual.Input("perceptual_model", tooltip="The network that says how unlike two pictures look."),
        io.Float.Input(
            "weight",
            default=20.0,
            min=0.0,
            max=1000.0,
            step=0.5,
            tooltip="Strength in the paper's units, whatever the model: 20 is the paper's, 10 is gentler on "
            "detail, 0 is plain MultiDiffusion.",
        ),
        io.Float.Input(
            "end_percent",
            default=0.2,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Guide up to this part of the schedule. Layout and light are settled in the first 20 %; "
            "each guided step costs several plain ones.",
        ),
        io.Combo.Input(
            "anchor",
            options=AnchorKind,
            default=AnchorKind.CENTRE,
            tooltip="What the windows should resemble: the middle window (the paper), a window of your choice, "
            "the picture at anchor_image, or the mean of all windows.",
        ),
        io.Int.Input(
            "anchor_index",
            default=0,
            min=-9999,
            max=9999,
            tooltip="Number of the anchor window from the top left, from 0; negative counts from the end. Only "
            f"with the anchor '{AnchorKind.INDEX.value}'.",
        ),
        io.Image.Input(
            "anchor_image",
            optional=True,
            tooltip=f"The picture to resemble, only with the anchor '{AnchorKind.IMAGE.value}': one for all "
            "panoramas of a batch, or one each.",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where guidance acts, scaled to the canvas: fully where white, not where black; Invert "
            "Mask keeps it out of a place. Windows that it does not touch are left free, and cost nothing.",
        ),
        io.Combo.Input(
            "gradient",
            options=[OF_PRESET, *(each.value for each in Gradient)],
            default=OF_PRESET,
            advanced=True,
            tooltip="How the gradient reaches the latent: through the model (the paper, and the preset "
            "reference); forward only (one more model call instead, for quantised or compiled models and "
            "little memory); image prior (no model call; strongest where the model commits early, as the demo "
            "model does; the presets balanced and fast); decoder only (cheapest, weak); or the paper's "
            "ablation, Eq. 13, which does almost nothing.",
        ),
        io.Float.Input(
            "decay",
            default=0.95,
            min=0.01,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Factor on the weight for each fiftieth of the schedule; 1 keeps it constant.",
        ),
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Leave the schedule unguided before this part.",
        ),
        io.Int.Input(
            "every_n",
            default=1,
            min=1,
            max=1000,
            advanced=True,
            tooltip="Guide every n-th step only, for speed.",
        ),
        io.Combo.Input(
            "schedule",
            options=Clock,
            default=Clock.PERCENT,
            advanced=True,
            tooltip="What start, end and decay count: percent of the noise schedule (the same dose at any "
            "number of steps) or the step's index (the official code).",
        ),
        io.Float.Input(
            "max_move",
            default=0.1,
            min=0.0,
            max=10.0,
            step=0.01,
            advanced=True,
            tooltip="Largest move of a window in one step, in standard deviations of its noisy latent; guards "
            "the picture against too much weight. 0 sets no limit, as in the paper.",
        ),
        io.Combo.Input(
            "preset",
            options=Preset,
            default=Preset.REFERENCE,
            optional=True,
            tooltip="How much of the paper's work is done. reference: all of it (not the sampler's algorithm "
            "of that name). balanced, fast: one model pass, a light decoder, the image prior's gradient, 1.2 "
            "or 1.5 times the weight up to twice the end_percent, on windows half apart, or side by side and "
            "elsewhere at each step, unless the Window Tiler has a grid of its own. On the demo model on a "
            "CPU they kept the coherence for 0.69 and 0.39 of the time of MultiDiffusion with windows a "
            "quarter apart.",
        ),
        io.Combo.Input(
            "prior",
            options=[SpectrumSource.NATURAL.value, SpectrumSource.ONLINE.value],
            default=SpectrumSource.NATURAL.value,
            optional=True,
            advanced=True,
            tooltip="Whose power spectrum the image prior is made of: a law of natural images, which fits the "
            "demo model, or what guided steps show of this very picture, for any model. A spectrum "
            "from Latent Spectrum goes before both. Only with the gradient image prior (Wiener).",
        ),
        SpectrumSocket.Input(
            "spectrum",
            optional=True,
            tooltip="From Latent Spectrum: measured on your own pictures. Only with the gradient image prior (Wiener).",
        ),
        SavingsSocket.Input(
            "savings",
            optional=True,
            tooltip="From Guidance Savings: short cuts of your own choice in place of the preset's. Choose the "
            "gradient by hand then; the presets balanced and fast take the image prior's.",
        ),
    ]


def _unused_anchors(kind: AnchorKind, index: int, picture: bool) -> Iterator[str]:
    if picture and kind is not AnchorKind.IMAGE:
        yield f"anchor_image: not used by the anchor '{kind.value}', only by '{AnchorKind.IMAGE.value}'"
    if index and kind is not AnchorKind.INDEX:
        yield f"anchor_index: not used by the anchor '{kind.value}', only by '{AnchorKind.INDEX.value}'"


def _remarks(settings: GuidanceSettings, preset: Preset, chosen: Gradient | None, own_savings: bool) -> list[str]:
    """What of the node's inputs goes unused, or was measured otherwise. chosen: the user's gradient, if any."""
    said, measured = [], PRESETS[preset].gradient
    if preset is not Preset.REFERENCE and own_savings:
        said.append(f"preset: '{preset.value}' is not used, because savings are connected")
    elif preset is not Preset.REFERENCE and chosen not in (None, measured):
        said.append(
            f"gradient: the preset '{preset.value}' was measured with '{measured.value}', not with '{chosen.value}'; "
            f"choose '{OF_PRESET}' for that"
        )
    if settings.spectrum_source is not SpectrumSource.NATURAL and settings.gradient is not Gradient.IMAGE_PRIOR:
        said.append(
            f"spectrum: not used by the gradient '{settings.gradient.value}', only by '{Gradient.IMAGE_PRIOR.value}'"
        )
    return said
