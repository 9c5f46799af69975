"""A VAE in a ControlNet of windows: each window's part of the hint is encoded by itself, and once if there is room."""

from collections.abc import Hashable

import torch
from torch import Tensor

from ....syncdiffusion_core.denoiser import Rows


class HintLatents:
    """Latents of one hint, by window, sample and size, for windows that come back during a run.

    room: bytes of them at most. What comes when it is full is not kept: windows that come back in turns, as they do,
    would drive each other out of a store that forgets the oldest.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: dict[Hashable, Tensor] = {}

    def latent(self, key: Hashable, vae: object, pixels: Tensor) -> Tensor:
        """pixels [1, h, w, 3] -> the latent that the host makes of them, or has made under this key."""
        if key in self._kept:
            return self._kept[key]
        with torch.no_grad():
            latent = vae.encode(pixels)
        if latent.nbytes <= self._room:
            self._room -= latent.nbytes
            self._kept[key] = latent
        return latent


class WindowVae:
    """The host's VAE in the place of itself, for a ControlNet that is shown these rows at this size.

    shown: (height, width) in latent cells.
    """

    def __init__(self, vae: object, latents: HintLatents, rows: Rows, shown: tuple[int, int]) -> None:
        self._vae, self._latents = vae, latents
        self._keys = [(*row, shown) for row in zip(rows.views, rows.samples, strict=True)]

    def __getattr__(self, name: str) -> object:
        return getattr(self._vae, name)

    def encode(self, pixels: Tensor) -> Tensor:
        """[R, h, w, 3] -> [R, C, …, h, w]. One by one: a VAE of moving pictures takes a batch for frames of one."""
        rows = dict(zip(self._keys, pixels.split(1), strict=True))  # a padded batch repeats its last window
        latents = {key: self._latents.latent(key, self._vae, row) for key, row in rows.items()}
        return torch.cat([latents[key] for key in self._keys])
