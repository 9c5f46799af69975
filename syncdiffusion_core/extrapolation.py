"""Sequential extrapolation by Blended Latent Diffusion: the baseline that windows denoised together improve on.

One window is denoised alone; each next one keeps what the windows before it have made, which is blended in at
every noise level (Avrahami et al. 2022, arXiv 2206.02779; as a baseline for panoramas in SyncDiffusion, section 5).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .canvases.windows import Windows
from .denoiser import Denoiser, Rows
from .process import NoiseProcess
from .views.view_set import aggregate

OnStep = Callable[[int, float, Tensor, Tensor], None]
"""Called after each step of each window with (steps done so far, sigma, canvas x0, canvas x)."""


class Outpainted(NamedTuple):
    """A canvas of which a part is given. All of shape [N, C, …, H, W].

    state: noised, at the first level. known: [N, 1, …, H, W], true where the canvas is given; clean: its clean latent
    there. noise: what known cells are noised with.
    """

    state: Tensor
    known: Tensor
    clean: Tensor
    noise: Tensor


def visiting_order(windows: Windows, known: Tensor) -> list[int]:
    """The windows in the order in which they are made: always the one of which most is known, but not all.

    known: [N, 1, …, H, W], true where the canvas is given. Where nothing is, the centre comes first.
    """
    known, order = known.to("cpu", copy=True), []
    while not known.all():
        shares = windows.project(known.float()).unflatten(0, (len(windows), -1)).flatten(1).mean(dim=1)
        shares[shares == 1] = -1
        order.append(int(shares.argmax()) if known.any() else windows.reference)
        known |= windows.subset(order[-1:]).coverage() > 0
    return order


@torch.no_grad()
def extrapolate(
    denoiser: Denoiser,
    process: NoiseProcess,
    windows: Windows,
    given: Outpainted,
    sigmas: Sequence[float],
    on_step: OnStep | None = None,
) -> Tensor:
    """Denoise a canvas window after window, in the order that they have: the canvas at the last level."""
    canvas, known, clean, noise = given
    canvas = torch.where(known, process.compose(clean, noise, sigmas[-1]), canvas)
    known, done = known.clone(), 0
    for k in range(len(windows)):
        window = windows.subset((k,))
        rows = Rows.grid(canvas.shape[0], window.names)
        x, there, x0_given, eps_given = (window.project(part) for part in (canvas, known, clean, noise))
        for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
            x = torch.where(there, process.compose(x0_given, eps_given, sigma), x)
            x0 = torch.where(there, x0_given, denoiser(x, sigma, rows))
            x = process.step(x, x0, sigma, sigma_next)
            done += 1
            if on_step is not None:
                on_step(done, sigma, _placed(window, x0, clean), canvas)
        clean, canvas = (
            _placed(window, x0, clean),
            _placed(window, torch.where(there, window.project(canvas), x), canvas),
        )
        known |= _place(window, known)
    return canvas


def _placed(window: Windows, content: Tensor, canvas: Tensor) -> Tensor:
    """The canvas with this content [N, C, …, h, w] in the window's place."""
    return torch.where(_place(window, canvas), aggregate(window, content), canvas)


def _place(window: Windows, canvas: Tensor) -> Tensor:
    """Where the window is on the canvas: [H, W], on the canvas's device."""
    return (window.coverage() > 0).to(canvas.device)
