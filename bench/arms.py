"""The rows of the paper's tables: one arm is one way to make a panorama."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.protocol import Protocol

SEQUENTIAL = "sequential (Blended Latent Diffusion)"
NOISY_LATENT = "noisy latent (Eq. 13)"
REFERENCE, SINGLE, UNGUIDED = "reference", "sd", "w0"
REFERENCE_SEED = 1_000_000  # the references' seeds are nobody else's
FEW_GUIDED = (5, 10)
"""The paper's f (Table 3): so many of the steps are guided, evenly spread."""


@dataclass(frozen=True)
class Arm:
    """One row. name: its folder. section: the heading it stands under.

    algorithm: of the sampler, None for the protocol's. guidance: widgets of Perceptual Sync Guidance over the
    protocol's, None for a row without guidance. perceptual: what guides, None for the protocol's network. savings:
    widgets of Guidance Savings, None for a row without that node. tiler, sampler: widgets of the Window Tiler and the
    Panorama Sampler over the protocol's. patches: nodes from MODEL to MODEL before the sampler, in order, as (class,
    widgets). rebuild: changes the finished graph, for rows that another pack samples.
    """

    name: str
    title: str
    width_px: int
    seeds: range
    section: str = ""
    algorithm: str | None = None
    guidance: Mapping[str, object] | None = None
    perceptual: str | None = None
    savings: Mapping[str, object] | None = None
    tiler: Mapping[str, object] = field(default_factory=dict)
    sampler: Mapping[str, object] = field(default_factory=dict)
    patches: tuple[tuple[str, Mapping[str, object]], ...] = ()
    rebuild: Callable[[dict[str, dict]], None] | None = None


def reference_set(protocol: Protocol) -> Arm:
    """The single images that every row is compared with (the paper's reference set); not a row itself."""
    seeds = range(REFERENCE_SEED, REFERENCE_SEED + protocol.references)
    return Arm(REFERENCE, "reference set", protocol.window_px, seeds)


def paper_arms(protocol: Protocol) -> tuple[Arm, ...]:
    """The rows of Tables 2 and 3, in the paper's order."""
    seeds, width, w = range(protocol.panoramas), protocol.widths_px[0], protocol.ablation_weight

    def arm(name: str, title: str, section: str = "", width_px: int = width, **settings: object) -> Arm:
        return Arm(name, title, width_px, seeds, section, **settings)

    def guided(name: str, title: str, section: str, width_px: int = width, **widgets: object) -> Arm:
        return arm(name, title, section, width_px, guidance={"weight": w, **widgets})

    varied, ablation, frequency = "Weight w (Eq. 14)", "Ablation", "Guided steps f"
    rows = [
        arm(SINGLE, "Single images", width_px=protocol.window_px),
        arm("bld", "Blended Latent Diffusion", algorithm=SEQUENTIAL),
        arm(UNGUIDED, "w = 0 (MultiDiffusion)", varied),
        *(guided(f"w{each:g}", f"w = {each:g}", varied, weight=each) for each in protocol.weights),
    ]
    for narrower in protocol.widths_px[1:]:
        section = f"Panorama size {protocol.window_px}x{narrower}"
        rows += [
            arm(f"w0_{narrower}", "MultiDiffusion", section, narrower),
            guided(f"w{w:g}_{narrower}", f"SyncDiffusion, w = {w:g}", section, narrower),
        ]
    rows += [
        guided("eq13", f"Eq. 13 for Eq. 14, w = {w:g}", ablation, gradient=NOISY_LATENT),
        arm("style", f"Style loss, w = {w:g}", ablation, guidance={"weight": w}, perceptual=protocol.style),
        *(
            guided(f"f{f}", f"f = {f}, w = {w:g}", frequency, end_percent=1.0, every_n=protocol.steps // f)
            for f in FEW_GUIDED
            if protocol.steps % f == 0  # else no "every n-th" guides so many
        ),
    ]
    if not protocol.guides_every_step:
        every = f"f = {protocol.steps}, w = {w:g}"
        rows.append(guided(f"f{protocol.steps}", every, frequency, end_percent=1.0, every_n=1))
    return tuple(rows)
