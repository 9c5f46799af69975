"""The oracle of windows: each one alone through the host's own functions, and the mean of what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import comfy.k_diffusion.sampling
import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch

WINDOW, STRIDE, CANVAS = 8, 4, 24  # latent cells; one row of five windows
STEPS, CFG, SEED = 3, 4.0, 3
LEFTS = range(0, CANVAS - WINDOW + 1, STRIDE)
WRAPPED = range(0, CANVAS, STRIDE)

Conds = dict[str, list]


class WindowAlone:
    """What a window alone is given: a stretch of the canvas, in cells, wrapped around its end."""

    def __init__(self, left: int, canvas: int = CANVAS) -> None:
        self.columns = [(left + k) % canvas for k in range(WINDOW)]

    def cut(self, image: torch.Tensor, cell: int = 1) -> torch.Tensor:
        """The stretch of an image [..., W * cell]."""
        pixels = [column * cell + k for column in self.columns for k in range(cell)]
        return image[..., pixels]

    def spans(self, start: int, length: int) -> list[tuple[int, int]]:
        """(start, length) within the window of the canvas's [start, start + length)."""
        inside = [k for k, column in enumerate(self.columns) if start <= column < start + length]
        runs = [[k] for k in inside if k - 1 not in inside]
        for run in runs:
            while run[-1] + 1 in inside:
                run.append(run[-1] + 1)
        return [(run[0], len(run)) for run in runs]


def lefts(wrap: bool) -> range:
    """Where the windows start."""
    return WRAPPED if wrap else LEFTS


def agree(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal but for the order of sums."""
    assert (one - other).abs().max() <= 1e-5 * other.abs().max()


class _Guider:
    """A window's model as the host's samplers call it: CFG of the host, by itself."""

    def __init__(self, model: object, ready: Conds) -> None:
        self.inner_model, self._ready = model.model, ready

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, model_options: dict, seed: int | None) -> torch.Tensor:
        args = (self._ready["negative"], self._ready["positive"], CFG, model_options)
        return comfy.samplers.sampling_function(self.inner_model, x, sigma, *args)


@torch.inference_mode()
def sample_alone(
    model: object,
    conds: Callable[[WindowAlone], Conds],
    starts: Iterable[int],
    latent: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    denoise: float = 1.0,
) -> torch.Tensor:
    """Euler by the host, its model the mean of windows alone.

    conds(window): CONDITIONING by role, as an artist would give it to a canvas of that window's size. latent: the
    picture to redo [1, C, …, 8, W], in the VAE's scale. mask: a MASK [1, 64, 8 W] of what may change.
    """
    base = model.model
    base.current_patcher = model
    shape = (1, base.latent_format.latent_channels, 8, CANVAS) if latent is None else latent.shape
    sigmas = _sigmas(base, denoise)
    noise = torch.randn(shape, generator=torch.manual_seed(SEED))
    picture = torch.zeros(shape) if latent is None else base.process_latent_in(latent)
    cells = None if mask is None else comfy.utils.reshape_mask(mask, shape)
    prepared = []
    for left in starts:
        window = WindowAlone(left)
        crop = window.cut(picture)
        kept = None if cells is None else window.cut(cells)
        given = {role: comfy.sampler_helpers.convert_cond(c) for role, c in conds(window).items()}
        ready = comfy.samplers.process_conds(
            base, torch.zeros_like(crop), given, torch.device("cpu"), latent_image=crop, denoise_mask=kept
        )
        blend = comfy.samplers.KSamplerX0Inpaint(_Guider(model, ready), sigmas)
        blend.latent_image, blend.noise = crop, window.cut(noise)
        prepared.append((window, blend, kept))

    def denoised(x: torch.Tensor, sigma: torch.Tensor, **_: object) -> torch.Tensor:
        total, count = torch.zeros_like(x), torch.zeros(CANVAS)
        for window, blend, kept in prepared:
            options = comfy.model_patcher.create_model_options_clone(model.model_options)
            options.setdefault("transformer_options", {})["sample_sigmas"] = sigmas
            total[..., window.columns] += blend(window.cut(x), sigma, denoise_mask=kept, model_options=options)
            count[window.columns] += 1
        return total / count

    full = comfy.samplers.KSAMPLER(None).max_denoise(_Guider(model, {}), sigmas)
    start = base.model_sampling.noise_scaling(sigmas[0], noise, picture, full)
    result = comfy.k_diffusion.sampling.sample_euler(denoised, start, sigmas, disable=True)
    return base.process_latent_out(base.model_sampling.inverse_noise_scaling(sigmas[-1], result))


def _sigmas(base: object, denoise: float) -> torch.Tensor:
    """The last STEPS steps of a schedule of which they are this share, as the host's samplers take them."""
    steps = STEPS if denoise > 0.9999 else int(STEPS / denoise)
    return comfy.samplers.calculate_sigmas(base.model_sampling, "normal", steps)[-(STEPS + 1) :]
