"""Objects of a campaign, made from their description; import it where the host is loaded."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import nodes
from bench.campaign.cases import Thing
from bench.campaign.models import FAMILIES, POOLED, TOKENS, VAES, model_of, vae_of
from syncdiffusion_core.guidance.spectrum import Spectrum
from syncdiffusion_core.perceptual.scene_net import SceneNet

FINITE = ("noise", "normal", "zeros", "ones", "wide")
BROKEN = ("nan", "inf")
"""What a tensor may be filled with; a broken one holds one such value."""


class World:
    """Makes things. Models and networks are made once, and are the same in all cases: none may change them."""

    def __init__(self) -> None:
        self._lasting: dict[str, Any] = {}

    def make(self, thing: Thing) -> Any:
        """The object of a description; the same one for a model, a VAE and a perceptual network."""
        builder = BUILDERS[thing.kind]
        with torch.inference_mode():
            if thing.kind not in LASTING:
                return builder(**thing.settings)
            key = repr(thing)
            if key not in self._lasting:
                self._lasting[key] = builder(**thing.settings)
            return self._lasting[key]

    def make_all(self) -> None:
        """All that lasts, so that what is alive does not grow later."""
        for name in FAMILIES:
            self.make(Thing("MODEL", {"name": name}))
        for name in VAES:
            self.make(Thing("VAE", {"name": name}))
        self.make(Thing("PERCEPTUAL", {}))


def is_finite(thing: Thing) -> bool:
    """Whether its numbers are all finite."""
    return not any(value in BROKEN for name, value in thing.settings.items() if name.endswith("fill"))


def tensor(shape: tuple[int, ...], fill: str = "noise", dtype: str = "float32", seed: int = 1) -> Tensor:
    """Of that shape: noise in [0, 1], normal, zeros, ones, wide (-2 to 3), or noise with one broken value in it."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(shape, generator=generator)
    made = {
        "normal": torch.randn(shape, generator=generator),
        "zeros": torch.zeros(shape),
        "ones": torch.ones(shape),
        "wide": 5 * noise - 2,
    }.get(fill, noise)
    if fill in BROKEN and made.numel():
        made.view(-1)[made.numel() // 2] = math.nan if fill == "nan" else math.inf
    return made.to(getattr(torch, dtype))


def latent(
    shape: tuple[int, ...],
    fill: str = "zeros",
    dtype: str = "float32",
    mask: tuple[int, ...] | None = None,
    mask_fill: str = "noise",
    cell_px: int | None = 8,
) -> dict:
    """LATENT. mask: shape of its noise mask. cell_px: what an empty one says of itself, None for nothing."""
    made: dict[str, Any] = {"samples": tensor(shape, fill, dtype)}
    if mask is not None:
        made["noise_mask"] = tensor(mask, mask_fill, seed=2)
    return made if cell_px is None else {**made, "downscale_ratio_spacial": cell_px}


def conditioning(
    seed: int = 1,
    words: int = 8,
    pooled: bool = True,
    entries: int = 1,
    options: Mapping[str, object] = {},
    mask: tuple[int, ...] | None = None,
    mask_fill: str = "noise",
) -> list:
    """CONDITIONING of random words. options: of its entries, as the host's nodes set them."""
    made = []
    for k in range(entries):
        given = dict(options)
        if pooled:
            given["pooled_output"] = tensor((1, POOLED), "normal", seed=seed + 100 * k)
        if mask is not None:
            given |= {"mask": tensor(mask, mask_fill, seed=2), "mask_strength": 1.0, "set_area_to_bounds": False}
        made.append([tensor((1, words, TOKENS), "normal", seed=seed + 100 * k), given])
    return made


class Clip:
    """In the place of a text encoder: random words, the same for texts of one length."""

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> list:
        return conditioning(len(tokens))


def perceptual() -> Any:
    """A small random network as a PERCEPTUAL_MODEL."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = SceneNet(widths=(8, 16), depth=1).eval().requires_grad_(False)
    loader = nodes.NODE_CLASS_MAPPINGS["SyncDiffusionLoadPerceptualModel"]
    return sys.modules[loader.__module__].PerceptualModel.wrap(network, "random scene")


def spectrum(channels: int = 4) -> Any:
    """A SPECTRUM of so many channels."""
    return Spectrum((1.0,) * channels, (0.1,) * channels, 4)


BUILDERS: dict[str, Callable[..., Any]] = {
    "IMAGE": tensor,
    "MASK": tensor,
    "LATENT": latent,
    "CONDITIONING": conditioning,
    "CLIP": Clip,
    "MODEL": model_of,
    "VAE": vae_of,
    "BOUNDING_BOX": lambda boxes: boxes,
    "PERCEPTUAL": perceptual,
    "SPECTRUM": spectrum,
}
LASTING = ("MODEL", "VAE", "PERCEPTUAL")
