"""MultiDiffusion's bootstrapping: in the first steps a region's prompt sees a plain backdrop outside its region.

In the first steps a model lays out the whole picture, so that a prompt that counts only inside a tight region may
place its object anywhere and lose it. There its prediction is made with everything outside the region replaced by a
random colour, noised to the step's level: the object has no other place to go.

Unlike MultiDiffusion's own code, the noise is another one in each step: a noise that stays tempts the model to the same
wrong place each time.

A region is marked by an entry of its CONDITIONING, which stock nodes pass on. The stock samplers do not know the mark
and make such a condition an ordinary one with a mask.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import comfy.samplers
import torch
from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Rows
from ..run.process import percent_of_sigma
from .tags import KEY, cut

MARK = "syncdiffusion_bootstrap"
"""Of a condition: its ``Backdrop``."""

COLOURS = 16
CELLS = 16  # along the side of the picture of one colour; borders are left out
LEVELS = 10**6  # noise levels told apart
STRIDE = 7_919  # between the seeds of neighbouring levels, so that runs of neighbouring seeds share none
WEIGHED_BY = ("mask", "mask_strength", "strength", "area", "timestep_start", "timestep_end")
NOTHING = 1e-37  # weight under which a place counts as empty, as in the host

Conds = list[list[dict] | None]


@dataclass(frozen=True, eq=False)
class Backdrop:
    """What a region's prompt sees outside its region; one object for each region.

    latents: [K, C] of random colours, as a VAE encodes them. end: share of the schedule, from its start. inside: mask
    values from here on belong to the region.
    """

    latents: Tensor
    end: float
    inside: float


@torch.inference_mode()
def backdrop_of(vae: object, end: float, inside: float) -> Backdrop:
    """A Backdrop in the latents of this VAE; the same one each time."""
    side = CELLS * vae.spacial_compression_encode()
    middle = slice(CELLS // 4, -CELLS // 4)
    colours = torch.rand(COLOURS, 3, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(range(torch.cuda.device_count())):  # VAEs draw from their posterior
        torch.manual_seed(0)
        pictures = [vae.encode(colour.expand(1, side, side, 3)) for colour in colours]
    latents = [picture[..., middle, middle].flatten(2).mean(dim=2) for picture in pictures]
    return Backdrop(torch.cat(latents), end, inside)


def marked(entries: Iterable[dict]) -> bool:
    """Whether any of these conditions is bootstrapped."""
    return any(MARK in entry for entry in entries)


class Bootstrapping:
    """Runs marked conditions on their backdrops, for one run of a canvas; it keeps the noise of its last step.

    seed: of the run; the same noise and colours for the same seed and noise level, however often it is visited, and
    for all samples: each of a batch equals its own run.
    """

    def __init__(self, windows: Windows, seed: int | None) -> None:
        self._windows, self._seed = windows, seed or 0
        self._drawn: tuple[int, int, Tensor] | None = None

    def calc_cond_batch(
        self, execute: Callable, model: object, conds: Conds, x_in: Tensor, timestep: Tensor, model_options: dict
    ) -> list[Tensor]:
        """Around the host's function of that name: x_in [R, C, …, h, w] and conditions cut to the rows tagged.

        A role without marks, such as the negative one, is evaluated on each backdrop too and counts there as much as
        the region does: CFG compares predictions of the same picture.
        """
        if not any(marked(entries or ()) for entries in conds):
            return execute(model, conds, x_in, timestep, model_options)
        percent = percent_of_sigma(model.model_sampling, float(timestep[0]))
        running = (e for entries in conds for e in entries or () if _runs(e, percent) and _active(e, timestep))
        backdrops = list(dict.fromkeys(e[MARK] for e in running))
        if not backdrops:
            return execute(model, conds, x_in, timestep, model_options)
        conds = [_without_defaults(entries, x_in, timestep) for entries in conds]
        plain = [_part(entries, None, backdrops) for entries in conds]
        outs = execute(model, plain, x_in, timestep, model_options)
        shares = [_shares(entries, backdrops, x_in, timestep) for entries in conds]
        leading = next(share for share in shares if share is not None)
        total = [out.clone() for out in outs]
        for k, backdrop in enumerate(backdrops):
            x = self._on(backdrop, conds, percent, model, x_in, timestep, model_options["transformer_options"][KEY])
            parts = [_part(entries, backdrop, backdrops) for entries in conds]
            for index, seen in enumerate(execute(model, parts, x, timestep, model_options)):
                share = (leading if shares[index] is None else shares[index])[k]
                total[index] = total[index] + share * (seen - outs[index])
        return total

    def _on(
        self, backdrop: Backdrop, conds: Conds, percent: float, model: object, x: Tensor, sigma: Tensor, rows: Rows
    ) -> Tensor:
        """x with everything outside the region replaced by its colour of this step, noised."""
        channels = backdrop.latents.shape[1]
        if channels != x.shape[1]:
            raise ValueError(
                f"vae: the one of a Region Prompts node has latents of {channels} channels and the model's latents "
                f"have {x.shape[1]}; connect the model's own VAE"
            )
        colour, noise = self._draw(percent, x, rows)
        latent = backdrop.latents[colour].to(x.device, x.dtype).reshape(1, -1, *(1,) * (x.ndim - 2))
        latent = model.process_latent_in(latent).expand_as(x).clone()
        noised = model.model_sampling.noise_scaling(sigma[:1], noise, latent)
        return torch.where(_inside(backdrop, conds, x, sigma), x, noised)

    def _draw(self, percent: float, x: Tensor, rows: Rows) -> tuple[int, Tensor]:
        """Index of the step's colour, and the rows' part of its noise: a fresh tensor, the host may write into it."""
        step = round(percent * LEVELS)
        if self._drawn is None or self._drawn[0] != step:
            generator = torch.Generator().manual_seed((self._seed + step * STRIDE) % 2**63)
            colour = int(torch.randint(COLOURS, (), generator=generator))
            shape = (1, *x.shape[1:-2], *self._windows.canvas)
            self._drawn = step, colour, torch.randn(shape, generator=generator)
        _, colour, noise = self._drawn
        return colour, cut(self._windows, noise, rows).to(x.device, x.dtype)


def _active(entry: dict, timestep: Tensor) -> bool:
    """Whether the host asks the condition at this noise level."""
    level = timestep[0]
    return bool(entry.get("timestep_start", level) >= level >= entry.get("timestep_end", level))


def _runs(entry: dict, percent: float) -> bool:
    return MARK in entry and percent < entry[MARK].end


def _part(entries: list[dict] | None, backdrop: Backdrop | None, running: list[Backdrop]) -> list[dict] | None:
    """The conditions of a role for one evaluation: those of a backdrop, or for None those of none that is running.

    All of them where the role has no mark.
    """
    if not any(entry.get(MARK) in running for entry in entries or ()):
        return entries
    if backdrop is None:
        return [entry for entry in entries if entry.get(MARK) not in running]
    return [entry for entry in entries if entry.get(MARK) is backdrop]


def _shares(entries: list[dict] | None, backdrops: list[Backdrop], x: Tensor, timestep: Tensor) -> list[Tensor] | None:
    """Part of the role's result that each backdrop's conditions make, each like x; None for a role without any."""
    if not any(entry.get(MARK) in backdrops for entry in entries or ()):
        return None
    weights = [(entry.get(MARK), _weight(entry, x, timestep)) for entry in entries]
    whole = sum(weight for _, weight in weights).clamp(min=NOTHING)
    return [sum(weight for mark, weight in weights if mark is backdrop) / whole for backdrop in backdrops]


def _weight(entry: dict, x: Tensor, timestep: Tensor) -> Tensor:
    """The host's weight of a condition, like x; 0 outside its area and its steps."""
    bare = {name: entry[name] for name in WEIGHED_BY if name in entry}
    found = comfy.samplers.get_area_and_mult({**bare, "model_conds": {}, "uuid": None}, x.detach(), timestep)
    weight = torch.zeros_like(x, requires_grad=False)
    if found is None:
        return weight
    place = weight
    if found.area is not None:
        dims = len(found.area) // 2
        for k in range(dims):
            place = place.narrow(k + 2, found.area[k + dims], found.area[k])
    place += found.mult
    return weight


def _without_defaults(entries: list[dict] | None, x: Tensor, timestep: Tensor) -> list[dict] | None:
    """Default conditions as ordinary ones with the mask that the host would give them: what the others leave.

    The host looks at the conditions of one call, and the others of these are in several.
    """
    if not any("default" in entry for entry in entries or ()):
        return entries
    others = [entry for entry in entries if "default" not in entry]
    left = (1 - sum((_weight(entry, x, timestep) for entry in others), torch.zeros_like(x))).clamp(min=0)[:, 0]
    dropped = (*WEIGHED_BY[:4], "default")
    kept = [
        {name: value for name, value in entry.items() if name not in dropped} for entry in entries if "default" in entry
    ]
    return others + [{**entry, "mask": left} for entry in kept]


def _inside(backdrop: Backdrop, conds: Conds, x: Tensor, timestep: Tensor) -> Tensor:
    """Whether a place belongs to the region: [R, 1, …, h, w]."""
    entries = [entry for role in conds for entry in role or () if entry.get(MARK) is backdrop]
    masks = [entry.get("mask") for entry in entries if _active(entry, timestep)]
    if any(mask is None for mask in masks):
        return torch.ones_like(x[:, :1], dtype=torch.bool)
    return sum(mask.to(x.device) for mask in masks)[:, None] >= backdrop.inside
