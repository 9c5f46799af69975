"""Nodes of the GPU check: models in a given type, steps that are timed, and the paper's loop written straight down.

Import it where the host and the pack are loaded already.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import replace

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

import nodes
from bench.shape_kinds import SHAPES
from bench.shape_nodes import ShapeSink, ShapeSource, model_of, tokens_of, vae_of
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.guidance.loss import PerceptualLoss
from syncdiffusion_core.reference import Official, syncdiffusion
from syncdiffusion_core.schedule import Clock, GuidanceSchedule
from syncdiffusion_core.views.schedule import CellGrid

SOURCE, CLOCK, STRAIGHT, SINK = (f"SyncDiffusionBench{name}" for name in ("Typed", "Clock", "Straight", "Kept"))
WEIGHT = 20.0
LATENT, GUIDED = "latent", "guided"
"""What the sink shows: the canvas on the processor, and how many of the steps were guided, which come first."""


class Moments:
    """When the last run began to sample, first asked its model, and was done with each step; the device waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def mark(self, number: int) -> None:
        """This one, unless it was marked before."""
        if number != len(self.seconds):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter())

    @property
    def preparation(self) -> float:
        """Seconds until the model was asked."""
        return self.seconds[1] - self.seconds[0]

    @property
    def steps(self) -> tuple[float, ...]:
        """Seconds of each step."""
        return tuple(there - here for here, there in zip(self.seconds[1:-1], self.seconds[2:], strict=True))


MOMENTS = Moments()


def register() -> None:
    """Make the nodes known to this process's host."""
    nodes.NODE_CLASS_MAPPINGS.update({SOURCE: TypedSource, CLOCK: StepClock, STRAIGHT: Straight, SINK: KeptSink})


class TypedSource(ShapeSource):
    """A shape's name and a type -> as ShapeSource; the same weights each time that it runs on one kind of device."""

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"name": (list(SHAPES),), "dtype": ("STRING", {})}}

    def make(self, name: str, dtype: str) -> tuple:
        torch.manual_seed(0)
        shape = replace(SHAPES[name], dtype=getattr(torch, dtype))
        return model_of(shape), tokens_of(shape, 1), tokens_of(shape, 2), vae_of(shape)


class StepClock:
    """A MODEL whose runs are timed step by step, into MOMENTS.

    With another number, what comes after it runs once more instead of being remembered.
    """

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    CATEGORY = "bench"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"model": ("MODEL",), "number": ("INT", {})}}

    def patch(self, model: object, number: int) -> tuple:
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "bench", _timed)
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "bench", _asked)
        return (clone,)


def _timed(executor, guider, sigmas, extra_args, callback, *args):
    MOMENTS.seconds.clear()
    MOMENTS.mark(0)

    def tick(step, x0, x, total):
        if callback is not None:
            callback(step, x0, x, total)
        MOMENTS.mark(step + 2)  # the last step of a long canvas is told a second time, in full

    return executor(guider, sigmas, extra_args, tick, *args)


def _asked(executor, *args, **kwargs):
    MOMENTS.mark(1)
    return executor(*args, **kwargs)


class Straight:
    """Algorithm 1 of the paper as ``syncdiffusion_core.reference`` has it, one window a call, on the host's networks.

    The first steps are guided, the others not. Its noise process is Stable Diffusion's: of other models it shows what
    the work costs, no picture.
    """

    RETURN_TYPES = ("LATENT", "STRING")
    FUNCTION = "sample"
    CATEGORY = "bench"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        sockets = {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "vae": "VAE"}
        sockets |= {"perceptual_model": "SYNCDIFFUSION_PERCEPTUAL", "latent_image": "LATENT", "cfg": "FLOAT"}
        numbers = dict.fromkeys(("window", "stride", "steps", "guided", "seed"), "INT")
        return {"required": {name: (kind,) for name, kind in (sockets | numbers).items()}}

    def sample(
        self, model, positive, negative, vae, perceptual_model, latent_image, cfg, window, stride, steps, guided, seed
    ) -> tuple:
        canvas = comfy.sample.fix_empty_latent_channels(model, latent_image["samples"])
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", steps)
        layout = WindowLayout(window, window, stride, stride).tiled(tuple(canvas.shape[-2:]), CellGrid(1))
        loop = _Loop(layout, vae, perceptual_model, guided)
        noise, sampler = comfy.sample.prepare_noise(canvas, seed), comfy.samplers.KSAMPLER(loop)
        inputs = (noise, cfg, sampler, sigmas, positive, negative, canvas)
        samples = comfy.sample.sample_custom(model, *inputs, disable_pbar=True, seed=seed)
        return {**latent_image, "samples": samples}, "\n".join(["guided"] * guided)


class _Loop:
    """The loop as a sampler of the host, one call of ``syncdiffusion`` for each step."""

    def __init__(self, windows: object, vae: object, perceptual: object, guided: int) -> None:
        self.windows, self.vae, self.perceptual, self.guided = windows, vae, perceptual, guided
        self.__name__ = "straight"

    def __call__(self, model, x, sigmas, extra_args=None, callback=None, disable=None):
        guider, levels, leave = model.inner_model, sigmas.tolist(), _of_pack("gradient.gradients").outside_inference
        together = [guider.model_patcher, self.vae.patcher, self.perceptual.patcher]
        comfy.model_management.load_models_gpu(together)
        call = (
            _of_pack("run.denoiser").HostDenoiser(guider, extra_args["model_options"], extra_args["seed"], None).alone
        )
        decode = _of_pack("gradient.decoder").HostDecoder(self.vae, guider.inner_model)
        distance = _of_pack("gradient.perceptual").HostDistance(self.perceptual)
        with leave():
            x = x.clone()
            for step, (sigma, after) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
                schedule = GuidanceSchedule(WEIGHT * (step < self.guided), end=1.0, clock=Clock.INDEX)
                unit = x / (1 + sigma**2) ** 0.5
                settings = Official(steps=1, schedule=schedule, sigmas=[sigma, after])
                x = syncdiffusion(call, PerceptualLoss(decode, distance), self.windows, unit, settings)
                callback({"i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": x, "x": x})
        return x


def _of_pack(name: str) -> object:
    """A module of nodes/host, of the pack as the host has loaded it."""
    package = nodes.NODE_CLASS_MAPPINGS["SyncDiffusionWindowTiler"].__module__.rsplit(".", 1)[0]
    return importlib.import_module(f"{package}.host.{name}")


class KeptSink(ShapeSink):
    """As ShapeSink, but shows the canvas, and how many lines a trace has."""

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"latent": ("LATENT",), "trace": ("STRING", {"forceInput": True})}}

    def take(self, latent: dict, trace: str) -> dict:
        super().take(latent)
        return {"ui": {LATENT: [latent["samples"].cpu()], GUIDED: [len(trace.splitlines())]}}
