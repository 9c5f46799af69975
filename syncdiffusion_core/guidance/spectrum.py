"""Power spectra of latents: what a Gaussian prior knows about pictures, as one law a channel.

S_c(f) = c / (f^2 + f0^2), the law of natural images (Field 1987) with a bend f0 where it would diverge.
Convention: f in cycles per latent cell, in `torch.fft.fftfreq`'s order, norm "ortho": S is the variance of one
Fourier coefficient, its mean over frequencies the variance of a cell, and one spectrum serves every window size.
Measured on windows as they are, without a taper: the prior's filter sees the same edges.
"""

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import torch
from torch import Tensor

from ..process import NoiseProcess
from ..weights import open_weights, write_weights

NATURAL_BEND = 0.3  # cycles a window; fitted to the latents of the demo's scenes
BENDS = torch.logspace(-1.5, 3.0, 181, dtype=torch.float64)  # cycles a window: the bends that a fit looks among
FORMAT = "syncdiffusion-spectrum"
NAMES = {"scale": (1e-15, 1e15), "bend": (1e-9, 1e9)}
"""Tensors of a file, and the bounds of their values: far outside what latents have, inside what float32 counts with."""
MOST_CHANNELS, MOST_WINDOWS = 4096, 10**9
REMEDY = "measure it again"


class SpectrumSource(str, Enum):
    """Where the prior's spectrum comes from."""

    NATURAL = "natural images"
    ONLINE = "from this picture (online)"
    MEASURED = "measured"


@dataclass(frozen=True)
class Spectrum:
    """S_c(f) = scale_c / (f^2 + bend_c^2) of the latents that a model works on, one value a channel or one for all.

    scale: c, in variance x (cycles a cell)^2, positive. bend: f0, in cycles a cell, positive. count: how many
    windows it was measured from, 0 for a law that was not.
    """

    scale: tuple[float, ...]
    bend: tuple[float, ...]
    count: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if not self.scale or len(self.scale) != len(self.bend):
            raise ValueError(
                f"scale and bend must have one value a channel each, got {len(self.scale)} and {len(self.bend)}"
            )
        for name, values in (("scale", self.scale), ("bend", self.bend)):
            if not all(math.isfinite(value) and value > 0 for value in values):
                raise ValueError(f"{name} must be positive and finite in every channel, got {values}; measure it again")

    def power(self, height: int, width: int) -> Tensor:
        """S in windows of that size in cells: [C or 1, height, width], float64, unshifted FFT order."""
        return torch.stack([c * _law(height, width, bend) for c, bend in zip(self.scale, self.bend, strict=True)])

    def normalised(self, height: int, width: int, variance: float) -> "Spectrum":
        """The same shape with this variance of a cell, in windows of that size."""
        means = self.power(height, width).mean(dim=(1, 2)).tolist()
        scale = tuple(c * variance / mean for c, mean in zip(self.scale, means, strict=True))
        return Spectrum(scale, self.bend, self.count)

    def check_channels(self, channels: int) -> None:
        """Raise ValueError where the spectrum is of another model's latents."""
        if len(self.scale) not in (1, channels):
            raise ValueError(
                f"spectrum: it has {len(self.scale)} channels and the model's latent has {channels}; measure one with "
                "this model, or disconnect it"
            )


def natural_spectrum(height: int, width: int) -> Tensor:
    """The fixed law of natural images: [height, width], mean 1, unshifted FFT order.

    Its bend is at `NATURAL_BEND` cycles a window, whatever the window: f is in cycles a window along each side.
    """
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None] * height
    fx = torch.fft.fftfreq(width, dtype=torch.float64)[None, :] * width
    power = 1 / (fy.square() + fx.square() + NATURAL_BEND**2)
    return power / power.mean()


def fit_spectrum(latents: Tensor) -> Spectrum:
    """The law of clean latents [N, C, ..., h, w] of one size, in the model's space.

    The mean of each place over the latents is removed: a sky that is always above is no part of what is random.
    Of a single latent only its own level can be removed, and frequency 0 counts for nothing.
    Raises ValueError for latents that are not finite, or do not vary.
    """
    latents = _as_pictures(latents)
    power = _spread(latents) if len(latents) > 1 else _periodogram(latents - latents.mean(dim=(2, 3), keepdim=True))
    return _fit_power(power, len(latents), level=len(latents) > 1)


def fit_predictions(process: NoiseProcess, sigma: float, x0: Tensor) -> Spectrum:
    """The law of the latents that a model is about to make, from its predictions x0 [V, C, ..., h, w] of V windows.

    Three corrections make up for what a prediction at high noise is not:
    the mean over windows is what the model knows at any noise, no answer to the noise, and is removed;
    what is left is blurred by the posterior, for a Gaussian prior to a^2 S^2 / (a^2 S + b^2), which is solved for S
    at each frequency; CFG and a network's own habits scale all of it, so it is brought to the variance sigma_data^2
    that latents have. Raises ValueError for fewer than two windows, where x0 does not vary, or where a is 0.
    """
    a, b = process.a(sigma), process.b(sigma)
    if a == 0 or len(x0) < 2:
        raise ValueError(
            f"a spectrum needs the predictions of at least two windows at a noise level with signal, got {len(x0)} at "
            f"sigma {sigma:g}; choose the spectrum '{SpectrumSource.NATURAL.value}'"
        )
    x0 = _as_pictures(x0)
    spread = _spread(x0)
    power = (spread + (spread.square() + 4 * spread * (b / a) ** 2).sqrt()) / 2
    height, width = x0.shape[-2:]
    return _fit_power(power, len(x0), level=True).normalised(height, width, process.sigma_data**2)


def save_spectrum(path: Path, spectrum: Spectrum) -> None:
    """Write a spectrum as safetensors with metadata that `load_spectrum` reads."""
    tensors = {name: torch.tensor(getattr(spectrum, name), dtype=torch.float64) for name in ("scale", "bend")}
    metadata = {"format": FORMAT, "unit": "cycles per latent cell", "windows": str(spectrum.count)}
    write_weights(path, tensors, metadata)


def load_spectrum(path: Path) -> Spectrum:
    """The spectrum of a file. Raises ValueError naming the file when it holds none."""
    file = open_weights(path, "spectrum", REMEDY)
    if file.metadata.get("format") != FORMAT:
        raise file.refusal(f"not a spectrum (format {file.metadata.get('format')!r}, not {FORMAT!r})")
    scale, bend = (file.shapes.get(name, ()) for name in NAMES)
    one_each = file.shapes.keys() == NAMES.keys() and len(scale) == 1 and scale == bend
    if not one_each or not 1 <= scale[0] <= MOST_CHANNELS:
        raise file.refusal(
            f"not a readable spectrum (scale and bend must be one value a channel, {MOST_CHANNELS} channels at most, "
            f"and its tensors are { {name: list(shape) for name, shape in file.shapes.items()} })"
        )
    count = file.number("windows", 0, 0, MOST_WINDOWS)
    values = file.tensors(torch.float64)
    for name, (least, most) in NAMES.items():
        if not ((values[name] >= least) & (values[name] <= most)).all():
            raise file.refusal(
                f"{name} must be from {least:g} to {most:g} in every channel, got {values[name].tolist()}"
            )
    return Spectrum(_floats(values["scale"]), _floats(values["bend"]), int(count))


def _squared_frequency(height: int, width: int) -> Tensor:
    """f^2 in (cycles a cell)^2: [height, width]."""
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.fftfreq(width, dtype=torch.float64)[None, :]
    return fy.square() + fx.square()


def _law(height: int, width: int, bend: float) -> Tensor:
    return 1 / (_squared_frequency(height, width) + bend**2)


def _as_pictures(latents: Tensor) -> Tensor:
    """[N, C, ..., h, w] -> [N', C, h, w] in float64, frames as pictures of their own."""
    if latents.ndim < 4 or min(latents.shape[-2:]) < 2:
        raise ValueError(f"latents must be [N, C, ..., h, w] of at least 2x2 cells, got {list(latents.shape)}")
    if not latents.isfinite().all():
        raise ValueError("latents must be finite to have a spectrum; some of them are not")
    frames = latents.cpu().double().unflatten(1, (-1, 1)).flatten(2, -3)  # [N, C, frames, h, w]
    return frames.transpose(1, 2).flatten(0, 1)


def _periodogram(latents: Tensor) -> Tensor:
    """Mean squared Fourier coefficient: [N, C, h, w] -> [C, h, w]."""
    return torch.fft.fft2(latents, norm="ortho").abs().square().mean(dim=0)


def _spread(latents: Tensor) -> Tensor:
    """Variance of each Fourier coefficient over the latents, unbiased: [C, h, w]."""
    return _periodogram(latents - latents.mean(dim=0, keepdim=True)) * (len(latents) / (len(latents) - 1))


def _fit_power(power: Tensor, count: int, level: bool) -> Spectrum:
    """The law of a power [C, h, w]: Whittle's likelihood, in which every ring of frequencies counts alike.

    For given f0 the best c is the weighted mean of P (f^2 + f0^2); what remains is one number a channel, searched on
    a grid. Counted singly, the many high frequencies would drown the few that guidance lives on.
    level: whether frequency 0 counts.
    """
    height, width = power.shape[-2:]
    if not (power.flatten(1).amax(dim=1) > 0).all():
        raise ValueError("latents must vary in every channel to have a spectrum; some channel is constant")
    weight = _ring_weights(height, width, level)
    square = _squared_frequency(height, width)
    bends = BENDS / max(height, width)
    mean_log = torch.stack([(weight * (square + bend**2).log()).sum() for bend in bends])  # [B]
    tilted, plain = ((weight * p).sum(dim=(1, 2)) for p in (power * square, power))  # [C]
    scales = tilted[:, None] + bends.square() * plain[:, None]  # [C, B]
    best = (scales.log() - mean_log).argmin(dim=1)
    return Spectrum(_floats(scales.gather(1, best[:, None])[:, 0]), _floats(bends[best]), count)


def _ring_weights(height: int, width: int, level: bool) -> Tensor:
    """Weights [h, w] of sum 1; a ring is one cycle a window wide."""
    ring = (_squared_frequency(height, width).sqrt() * max(height, width)).round().long()
    weight = 1 / torch.bincount(ring.flatten()).double()[ring]
    if not level:
        weight[0, 0] = 0
    return weight / weight.sum()


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
