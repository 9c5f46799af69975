"""The demo model in plain torch, without a host: prompts in, denoiser and decoder out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from syncdiffusion_core.weights import open_weights

from .around import AROUND
from .captions import VOCABULARY
from .checkpoint import check_checkpoint
from .export import PREFIXES, REMEDY, WEIGHTS
from .low_rank import World
from .objects import OBJECTS
from .schedule import timestep
from .text_encoder import TEXT_CONFIG, TextEncoder
from .tokenizer import Tokenizer
from .unet import UNet
from .vae import SCALE_FACTOR, AutoencoderKL

Denoiser = Callable[[torch.Tensor, torch.Tensor | float, Iterable[int]], torch.Tensor]


@dataclass(frozen=True)
class DemoModel:
    """A text-conditioned latent diffusion model of 128 px landscapes (16x16 latents; other sizes work)."""

    unet: UNet
    vae: AutoencoderKL
    text: TextEncoder
    tokenizer: Tokenizer = Tokenizer()

    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """Prompts to context [N, L, D]; see `tokenizer.unknown` for words that are not understood."""
        with torch.no_grad():
            return self.text(self.tokenizer.batch(prompts).to(self.text.position_embedding.device))

    def predict(self, x: torch.Tensor, sigma: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """x0 of the VE state x [N, 4, h, w] at sigma [N]; the network speaks v = a eps - b x0."""
        scale = (1 + sigma[:, None, None, None] ** 2).sqrt()
        v = self.unet(x / scale, timestep(sigma), context)
        return x / scale**2 - v * sigma[:, None, None, None] / scale

    def denoiser(self, cond: torch.Tensor, uncond: torch.Tensor, cfg: float) -> Denoiser:
        """denoise(x, sigma, rows) -> x0 with CFG inside.

        cond [K, L, D]: row n of x is conditioned on cond[rows[n]], or on the only row when K is 1;
        uncond [1, L, D].
        """

        def denoise(x: torch.Tensor, sigma: torch.Tensor | float, rows: Iterable[int]) -> torch.Tensor:
            count = len(x)
            sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(count)
            chosen = cond.expand(count, -1, -1) if len(cond) == 1 else cond[torch.as_tensor(list(rows))]
            if cfg == 1:
                return self.predict(x, sigma, chosen)
            context = torch.cat([chosen, uncond.expand(count, -1, -1)])
            both = self.predict(torch.cat([x, x]), torch.cat([sigma, sigma]), context)
            positive, negative = both.chunk(2)
            return negative + cfg * (positive - negative)

        return denoise

    def decode(self, x0: torch.Tensor) -> torch.Tensor:
        """Latents [N, 4, h, w] to images [N, 3, 8h, 8w] in [0, 1]."""
        return ((self.vae.decode(x0 / SCALE_FACTOR) + 1) / 2).clamp(0, 1)

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        """Images [N, 3, H, W] in [0, 1] to latents [N, 4, H/8, W/8] of unit variance."""
        return self.vae.encode(image * 2 - 1) * SCALE_FACTOR


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def load_demo(path: str | Path | None = None, around: bool = False) -> DemoModel:
    """Read demo_model.safetensors (default: the one beside this file) as float32, frozen.

    around: the model that looks around, see ``around``. Raises ValueError naming the file where one is damaged.
    """
    return _loaded(path, AROUND if around else None)


def load_objects() -> DemoModel:
    """The model that paints objects, see ``objects``. Raises ValueError naming the file where one is damaged."""
    return _loaded(None, OBJECTS)


def _loaded(path: str | Path | None, world: World | None) -> DemoModel:
    file = open_weights(Path(path or WEIGHTS / "demo_model.safetensors"), "safetensors file", REMEDY)
    check_checkpoint(file)
    tensors = file.tensors()
    states = {name: _part(tensors, prefix) for name, prefix in PREFIXES.items()}
    vocabulary, config = VOCABULARY, TEXT_CONFIG
    if world is not None:
        change = open_weights(world.file, "safetensors file", REMEDY)
        states["unet"], states["text"] = world.changed(states["unet"], change)
        vocabulary, config = list(world.vocabulary), world.text_config
    unet, vae, text = UNet(), AutoencoderKL(), TextEncoder(config)
    for name, module in {"unet": unet, "vae": vae, "text": text}.items():
        module.load_state_dict(states[name])
        module.eval().requires_grad_(False)
    return DemoModel(unet, vae, text, Tokenizer(tuple(vocabulary)))
