"""Pictures of 360 degrees by the demo model, on the core alone: what the nodes do, without their host."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor

from bench.circular import around
from bench.sphere_rows import (
    CELL_PX,
    SIZE_PX,
    VIEW_PX,
    WEIGHT,
    Agree,
    Cameras,
    Planar,
    Preset,
    SphereRow,
    place_of,
    prompt_at,
)
from bench.strategies import denoiser_of, sampled
from demo.export import WEIGHTS
from demo.light_decoder import load_light_decoder
from demo.light_encoder import load_light_encoder
from demo.pipeline import DemoModel
from demo.schedule import STEPS as TRAINED_STEPS
from demo.schedule import timestep
from syncdiffusion_core.agreement import LATENTS, PictureAgreement
from syncdiffusion_core.batching import WindowBatches
from syncdiffusion_core.blending import Blend
from syncdiffusion_core.canvases.sphere_spec import SphereViews
from syncdiffusion_core.canvases.turning import Motion
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import full_canvas
from syncdiffusion_core.denoiser import Denoiser, Rows
from syncdiffusion_core.guidance.loss import PerceptualLoss
from syncdiffusion_core.guidance.perceptual import Limits, Passes, PerceptualGuidance
from syncdiffusion_core.guidance.pullbacks import make_pullback
from syncdiffusion_core.guidance.targets import make_target
from syncdiffusion_core.perceptual.files import load_perceptual
from syncdiffusion_core.reference import official_sigmas
from syncdiffusion_core.sampling import Method, Sampled
from syncdiffusion_core.schedule import GuidanceSchedule
from syncdiffusion_core.strategies import Synchronisation
from syncdiffusion_core.views.schedule import CellGrid, Resolved, Still, ViewSchedule
from syncdiffusion_core.wrapping import wrap_pad

STEPS, CFG, GUIDED_PART, MAX_MOVE = 25, 7.5, 0.2, 0.1
"""Of the demo's other tables; balanced and fast guide twice as long, two fifths of the steps."""
STRIDE_PX, MARGIN_PX = 64, 128
"""Between windows that wrap, and decoded beyond the edge of their canvas (Panorama Decode)."""
ROWS_AT_ONCE = {"cpu": (64, 16), "cuda": (1152, 128)}
"""Rows through a network at once: without gradients, and with."""
CELLS = tuple(side // CELL_PX for side in SIZE_PX)
VIEW_CELLS = VIEW_PX[0] * VIEW_PX[1] // CELL_PX**2


class SphereMaker:
    """The demo model, its light codec and what guides. evaluations: of a view of each seed, since it was set to 0."""

    def __init__(self, model: DemoModel, device: str = "cpu", steps: int = STEPS) -> None:
        self.device = torch.device(device)
        for network in (model.unet, model.vae, model.text):
            network.to(self.device)
        self.model = model
        self.light, self.light_encoder = (load().to(self.device) for load in (load_light_decoder, load_light_encoder))
        self.guide = load_perceptual(WEIGHTS / "scene_perceptual.safetensors").to(self.device)
        self.sigmas = [*official_sigmas(steps)[:-1], 0.0]
        self.evaluations = 0.0

    @torch.no_grad()
    def make(self, row: SphereRow, seeds: Sequence[int]) -> Tensor:
        """The pictures of these seeds, [N, 3, *SIZE_PX] in [0, 1], on the CPU. Raises ValueError where none can be."""
        make = self.sphere if row.planar is None else self.planar
        return make(row, seeds).clamp(0, 1).cpu()

    def sphere(self, row: SphereRow, seeds: Sequence[int]) -> Tensor:
        """Views of a sphere that are denoised together, as View Sampler does."""
        resolved, count = resolved_of(row.cameras, row.motion), len(seeds)
        agreement = self.agreement(row.agree, resolved, count)
        guidance = None if row.preset is None else self.guidance(row, count)
        method = Method(row.synchronisation, agreement, guidance, self.batches(count))
        made = self.sampled(prompts(row.cameras, seeds), resolved.latent, seeds, method)
        if agreement.in_latents:  # whose canvas is no picture that a decoder knows: its views are
            decoded = self.agreement(Agree.FULL, resolved, count)
            return (decoded.result(resolved.latent.every, made.views) + 1) / 2
        return (made.canvas + 1) / 2

    def planar(self, row: SphereRow, seeds: Sequence[int]) -> Tensor:
        """A canvas of 2:1 that is denoised as any picture."""
        model, margin = self.model, 0
        schedule: ViewSchedule = Still(full_canvas(CELLS))
        if row.planar is Planar.CIRCULAR:
            model = around(model)
        if row.planar is Planar.WINDOWS:
            layout = WindowLayout(*VIEW_PX, STRIDE_PX, STRIDE_PX, wrap_x=True, blend=Blend.FEATHERED)
            schedule, margin = layout.resolve(CELLS, CellGrid(CELL_PX)).latent, MARGIN_PX // CELL_PX
        texts = [place_of(seed) for seed in seeds for _ in range(len(schedule.every))]
        method = Method(Synchronisation.MULTIDIFFUSION, batches=self.batches(len(seeds)))
        canvas = self.sampled(texts, schedule, seeds, method, model).canvas
        wrapped = wrap_pad(canvas, 0, margin)
        pictures = torch.cat([model.decode(part) for part in wrapped.split(self._at_once[1])])
        return pictures[..., margin * CELL_PX : pictures.shape[-1] - margin * CELL_PX]

    def sampled(
        self,
        texts: list[str],
        schedule: ViewSchedule,
        seeds: Sequence[int],
        method: Method,
        model: DemoModel | None = None,
    ) -> Sampled:
        """What becomes of the noise of these seeds. texts: sample-major."""
        denoiser = denoiser_of(model or self.model, texts, len(schedule.every), CFG)
        return sampled(self._counted(denoiser, len(seeds)), schedule, seeds, self.sigmas, method, self.device)

    def agreement(self, agree: Agree, resolved: Resolved, count: int) -> object:
        """Of the views of so many seeds."""
        if agree is Agree.LATENTS:
            return LATENTS
        decode, encode, bake = self.model.decode, self.model.encode_image, None
        if agree is Agree.LIGHT:
            decode, encode, bake = self.light.decode, self.light_encoder.encode, self.model.decode
        pixels = resolved.pixels.every
        return PictureAgreement(decode, encode, pixels, self.batches(count), bake=bake, steps=resolved.pixels)

    def guidance(self, row: SphereRow, count: int) -> PerceptualGuidance:
        """As the preset has it, of views of so many seeds."""
        preset, batches = row.preset, self.batches(count, gradients=True)
        decode = self.light.decode if preset.light else self.model.decode
        loss = PerceptualLoss(decode, self.guide, make_target(row.target), batches)
        passes = Passes(self.batches(count), batches, preset.second_pass)
        weights = weights_of(preset, self.sigmas, row.weight)
        return PerceptualGuidance(weights, loss, make_pullback(preset.gradient), passes=passes, limits=Limits(MAX_MOVE))

    def batches(self, count: int, gradients: bool = False) -> WindowBatches:
        """Views of so many seeds that go through a network at once."""
        return WindowBatches(max(self._at_once[gradients] // count, 1))

    @property
    def _at_once(self) -> tuple[int, int]:
        return ROWS_AT_ONCE[self.device.type]

    def _counted(self, denoiser: Denoiser, count: int) -> Denoiser:
        def counting(x: Tensor, sigma: float, rows: Rows) -> Tensor:
            views = len({*zip(rows.samples, rows.views, strict=True)})  # a padded batch has one twice
            self.evaluations += views / count * x.shape[-2] * x.shape[-1] / VIEW_CELLS
            return denoiser(x, sigma, rows)

        return counting


@cache
def resolved_of(cameras: Cameras, motion: Motion = Motion.STILL) -> Resolved:
    """The views of a rig, for this model."""
    return SphereViews(cameras.rig, SIZE_PX, VIEW_PX, motion=motion).resolve(None, CellGrid(CELL_PX))


def prompts(cameras: Cameras, seeds: Iterable[int]) -> list[str]:
    """Of every view of each seed, sample-major."""
    elevations = [math.degrees(elevation) for elevation in cameras.rig.directions[:, 1].tolist()]
    return [prompt_at(elevation, place_of(seed)) for seed in seeds for elevation in elevations]


def weights_of(preset: Preset, sigmas: Sequence[float], weight: float = WEIGHT) -> list[float]:
    """Of each step, as the nodes have them: by percent of the schedule."""
    schedule = GuidanceSchedule(weight, end=GUIDED_PART * preset.span)
    steps = timestep(torch.tensor(sigmas[:-1])).tolist()
    percents = [*(1 - step / (TRAINED_STEPS - 1) for step in steps), 1.0]
    return [preset.strength * weight for weight in schedule.weights(percents)]
