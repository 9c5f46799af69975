"""Each model family as the tests use it: a small random model, its VAE, its conditioning, its latents."""

from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_patcher
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy.sd
import small_networks as networks
import small_vaes as vaes
import torch
from comfy import model_base, model_sampling
from comfy.ldm.hidream_o1.model import TMS_TOKEN_ID

STEPS = 3


@dataclass(frozen=True)
class Family:
    """How a family is made and used in the tests.

    cell_px, channels, dims: of its latents. patch: latent cells along a patch, the literal that windows are held
    to. tokens, pooled: widths of its conditioning. weight: of a guided run, in the paper's units.
    """

    name: str
    make: Callable[[], comfy.model_patcher.ModelPatcher]
    make_vae: Callable[[], comfy.sd.VAE]
    base: type
    noise: type
    channels: int = 4
    cell_px: int = 8
    patch: int = 1
    dims: int = 4
    tokens: int = networks.TEXT
    pooled: int = 0
    options: Callable[[torch.Generator], dict] | None = None
    backward: bool = True

    def conditioning(self, seed: int, **options) -> list:
        """CONDITIONING of random tokens, as this family's text encoder shapes it."""
        generator = torch.Generator().manual_seed(seed)
        given = {} if self.options is None else self.options(generator)
        if self.pooled:
            given["pooled_output"] = torch.randn(1, self.pooled, generator=generator)
        return [[torch.randn(1, 8, self.tokens, generator=generator), {**given, **options}]]

    def latent(self, width_px: int, height_px: int, batch: int = 1) -> dict:
        """An empty LATENT of this family's shape."""
        time = () if self.dims == 4 else (1,)
        size = (height_px // self.cell_px, width_px // self.cell_px)
        return {"samples": torch.zeros(batch, self.channels, *time, *size), "downscale_ratio_spacial": self.cell_px}


def token_ids(generator: torch.Generator) -> dict:
    """What HiDream-O1 is given for a text: numbers of tokens, the last of them for the time step."""
    words = torch.randint(1000, (1, 7), generator=generator)
    return {"text_input_ids": torch.cat([words, torch.tensor([[TMS_TOKEN_ID]])], dim=1)}


FAMILIES = {
    family.name: family
    for family in (
        Family("SD 1.5", networks.sd15, vaes.kl_vae_4, model_base.BaseModel, model_sampling.EPS, tokens=768),
        Family(
            "SD 2.1 (v)", networks.sd21, vaes.kl_vae_4, model_base.BaseModel, model_sampling.V_PREDICTION, tokens=1024
        ),
        Family("SDXL", networks.sdxl, vaes.kl_vae_4, model_base.SDXL, model_sampling.EPS, pooled=1280),
        Family(
            "SD3",
            networks.sd3,
            vaes.kl_vae_16,
            model_base.SD3,
            model_sampling.CONST,
            channels=16,
            patch=2,
            tokens=4096,
            pooled=2048,
        ),
        Family(
            "Flux",
            networks.flux,
            vaes.kl_vae_16,
            model_base.Flux,
            model_sampling.CONST,
            channels=16,
            patch=2,
            tokens=4096,
            pooled=768,
        ),
        Family(
            "Flux.2", networks.flux2, vaes.flux2_vae, model_base.Flux2, model_sampling.CONST, channels=128, cell_px=16
        ),
        Family(
            "Lumina2", networks.lumina2, vaes.kl_vae_16, model_base.Lumina2, model_sampling.CONST, channels=16, patch=2
        ),
        Family(
            "Z-Image", networks.z_image, vaes.kl_vae_16, model_base.Lumina2, model_sampling.CONST, channels=16, patch=2
        ),
        Family(
            "Qwen-Image",
            networks.qwen_image,
            vaes.wan_vae,
            model_base.QwenImage,
            model_sampling.CONST,
            channels=16,
            patch=2,
            dims=5,
        ),
        Family(
            "Wan",
            networks.wan,
            vaes.wan_vae,
            model_base.WAN21,
            model_sampling.CONST,
            channels=16,
            patch=2,
            dims=5,
            tokens=4096,
        ),
        Family(
            "Krea 2",
            networks.krea2,
            vaes.wan_vae,
            model_base.Krea2,
            model_sampling.CONST,
            channels=16,
            patch=2,
            dims=5,
        ),
        Family(
            "Chroma Radiance",
            networks.chroma_radiance,
            vaes.pixel_vae,
            model_base.ChromaRadiance,
            model_sampling.CONST,
            channels=3,
            cell_px=1,
            patch=16,
        ),
        Family(
            "HiDream-O1",
            networks.hidream_o1,
            vaes.pixel_vae,
            model_base.HiDreamO1,
            model_sampling.CONST,
            channels=3,
            cell_px=1,
            patch=32,
            options=token_ids,
            backward=False,
        ),
        Family(
            "PixelDiT",
            networks.pixeldit,
            vaes.pixel_vae,
            model_base.PixelDiTT2I,
            model_sampling.CONST,
            channels=3,
            cell_px=1,
            patch=16,
        ),
    )
}


DIFFERENTIABLE = [name for name, family in FAMILIES.items() if family.backward]


class Bench:
    """One family's small model under the nodes of the host and of the pack, with small settings.

    run: the harness's run_node. layout: windows where none are given.
    """

    def __init__(
        self, family: Family, made: tuple, run: Callable[..., tuple], perceptual: object, layout: object
    ) -> None:
        self.family, (self.model, self.vae) = family, made
        self._run, self._perceptual, self._layout = run, perceptual, layout

    def inputs(self, batch: int = 1, **inputs: object) -> dict:
        """What every sampler of the tests is given."""
        made = {
            "seed": 3,
            "steps": STEPS,
            "cfg": 2.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "positive": self.family.conditioning(1),
            "negative": self.family.conditioning(2),
            "latent_image": self.family.latent(192, 64, batch),
        }
        return {**made, **inputs}

    def stock(self, model: object = None, **inputs: object) -> torch.Tensor:
        """Samples of the host's KSampler."""
        given = self.inputs(**inputs)
        return self._run("KSampler", model=model or self.model, denoise=1.0, **given)[0]["samples"]

    @torch.inference_mode()
    def stock_from(self, noise: torch.Tensor, model: object = None, **inputs: object) -> torch.Tensor:
        """The same from a given noise, whatever its size."""
        given, names = self.inputs(**inputs), ("steps", "cfg", "sampler_name", "scheduler", "positive", "negative")
        args = (noise, *(given[name] for name in names), torch.zeros_like(noise))
        return comfy.sample.sample(model or self.model, *args, seed=3, disable_pbar=True)

    def predictor(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """x -> x0 of one window half way, with CFG, by the host's own functions."""
        base = self.model.model
        base.current_patcher = self.model
        with torch.inference_mode():
            empty = self.family.latent(64, 64)["samples"]
            given = {role: self.family.conditioning(k) for k, role in enumerate(("positive", "negative"), 1)}
            given = {role: comfy.sampler_helpers.convert_cond(cond) for role, cond in given.items()}
            ready = comfy.samplers.process_conds(base, empty, given, torch.device("cpu"), latent_image=empty)
        level = float(base.model_sampling.percent_to_sigma(0.5))

        def x0(state: torch.Tensor) -> torch.Tensor:
            conds = (ready["negative"], ready["positive"], 2.0, {"transformer_options": {}})
            return comfy.samplers.sampling_function(base, state, torch.full((1,), level), *conds)

        return x0

    def run(self, layout: object = None, **inputs: object) -> tuple[dict, str]:
        """(LATENT, trace) of the Panorama Sampler."""
        given = {"model": self.model, **self.inputs(**inputs)}
        return self._run("SyncDiffusionPanoramaSampler", windows=layout or self._layout, **given)

    def samples(self, layout: object = None, **inputs: object) -> torch.Tensor:
        """The latent of the Panorama Sampler."""
        return self.run(layout, **inputs)[0]["samples"]

    def guidance(self, **inputs: object) -> object:
        """SYNC_GUIDANCE strong enough to be seen in a few steps."""
        settings = {"vae": self.vae, "weight": 2000.0, "max_move": 0.5, "end_percent": 1.0, **inputs}
        return self._run("SyncDiffusionGuidance", perceptual_model=self._perceptual, **settings)[0]

    def intra(self, latent: dict) -> float:
        """Mean perceptual distance between the windows of the decoded panorama."""
        image = self._run("SyncDiffusionPanoramaDecode", samples=latent, vae=self.vae)[0]
        scored = {"image": image, "perceptual_model": self._perceptual, "window_size": 64}
        return self._run("SyncDiffusionCoherence", **scored)[0]
