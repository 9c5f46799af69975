"""The rows of the frontier: what each saving costs in coherence, alone and composed into presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from bench.arms import UNGUIDED, Arm
from bench.graphs import plain_sampler
from bench.protocol import Protocol
from bench.wrong_spectra import of_noise, of_ramps

MODE = "reference_mode"
"""The row that every other is held against: guidance with nothing saved, by the protocol's gradient (the image prior's,
where the pack's preset of that name goes through the model)."""
BALANCED, FAST = "balanced", "fast"
MAIN = (UNGUIDED, MODE, BALANCED, FAST)
"""The rows of the claims: on all seeds, in the contact sheet, with intervals in the picture."""
HELD_OUT, EXPLORED = 200_000, 16
"""The first of the seeds that nothing was tuned on; the other rows take the first few of them."""

OPTIONS = {
    "all steps": {"end_percent": 1.0},
    "through the model": {"gradient": "through the model"},
    "forward only": {"gradient": "forward only"},
    "decoder only": {"gradient": "decoder only"},
    "fewer steps": {"end_percent": 0.1},
    "online": {"prior": "from this picture (online)"},
}
"""Widgets of Perceptual Sync Guidance over the reference's, by what the rows below call them."""
SAVED = {
    "part": {"part": 0.4},
    "second pass": {"second_pass": False},
    "rotating": {"windows_guided": "rotating, none overlapping"},
    "light": {"decoder": "light decoder"},
    "pooled": {"decoder": "pooled latent"},
    "shrink 2": {"shrink": 2},
    "shrink 4": {"shrink": 4},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "span": {"span": 2.0},
    "dose": {"span": 2.0, "strength": 1.5},
    "half": {"grid": "half overlapping"},
    "rolled": {"grid": "rolled"},
    "alternating": {"grid": "alternating"},
}
"""Widgets of Guidance Savings over those that save nothing, by what the rows below call them; the dose is the presets'
own, with nothing saved."""
PRESETS = {BALANCED: {"preset": "balanced"}, FAST: {"preset": "fast"}}
"""Widgets of Perceptual Sync Guidance over the reference's: the gradient stays the protocol's."""
NEEDS_CUDA = ("float16",)
"""Rows that the pack refuses on a processor."""
MERGE_ATTENTION = "SyncDiffusionMergeAttention"
TILED_DIFFUSION = "tiled_diffusion"


def frontier_arms(protocol: Protocol, seeds: range) -> tuple[Arm, ...]:
    """All rows, the main ones on all seeds."""
    others = (*_explored(protocol), *_wrong_spectra(protocol), *_baselines(protocol), _tiled_diffusion(protocol))
    main = (replace(arm, seeds=seeds) for arm in _main(protocol))
    return (*main, *(replace(arm, seeds=seeds[:EXPLORED]) for arm in others))


def _main(protocol: Protocol) -> tuple[Arm, ...]:
    return (
        _arm(protocol, UNGUIDED, "MultiDiffusion"),
        _guided(protocol, MODE, "reference, image prior"),
        *(_guided(protocol, name, f"preset {name}", **PRESETS[name]) for name in (BALANCED, FAST)),
    )


def _explored(protocol: Protocol) -> tuple[Arm, ...]:
    """The official algorithm, each option alone on top of the reference, and a few together."""
    whole = {"weight": 20.0, "end_percent": 1.0, "gradient": "through the model", "max_move": 0.0}
    official = partial(_guided, protocol, algorithm="reference (Algorithm 1)", **whole)
    alone = partial(_guided, protocol)
    return (
        official("official", "official algorithm, w = 20, all steps"),
        official("straight", "official algorithm, one window a call", sampler={"windows_per_batch": 1}),
        alone("all_steps", "all steps guided", **OPTIONS["all steps"]),
        alone("through_model", "through the model", **OPTIONS["through the model"]),
        alone("forward_only", "forward only", **OPTIONS["forward only"]),
        alone("decoder_only", "decoder only", **OPTIONS["decoder only"]),
        alone("spectrum_online", "spectrum of this picture", **OPTIONS["online"]),
        alone("fewer_steps", "half of the guided steps", **OPTIONS["fewer steps"]),
        alone("part", "half of the guided steps, dose kept", savings=SAVED["part"]),
        alone("span", "reference, guided twice as long", savings=SAVED["span"]),
        alone("dose", "reference, guided twice as long, 1.5 times the weight", savings=SAVED["dose"]),
        *(
            alone(name.replace(" ", "_"), title, savings=SAVED[name])
            for name, title in (
                ("second pass", "x0 of the first pass reused"),
                ("rotating", "rotating windows guided"),
                ("light", "light decoder"),
                ("pooled", "pooled latent"),
                ("shrink 2", "distance at half the size"),
                ("shrink 4", "distance at a quarter of the size"),
                ("bfloat16", "bfloat16"),
                ("float16", "float16"),
                ("half", "half overlapping windows"),
                ("rolled", "rolled windows"),
                ("alternating", "alternating grids"),
            )
        ),
        alone(
            "rolled_model", "rolled windows, through the model", savings=SAVED["rolled"], **OPTIONS["through the model"]
        ),
        alone("rolled_forward", "rolled windows, forward only", savings=SAVED["rolled"], **OPTIONS["forward only"]),
        alone("rotating_reused", "rotating windows, x0 reused", savings=_both("rotating", "second pass")),
        alone("rolled_reused", "rolled windows, x0 reused", savings=_both("rolled", "second pass")),
        alone("rolled_part", "rolled windows, x0 reused, fewer steps", savings=_both("rolled", "second pass", "part")),
        alone(
            "rolled_light", "rolled windows, x0 reused, light decoder", savings=_both("rolled", "second pass", "light")
        ),
        alone(
            "rolled_all",
            "rolled windows, x0 reused, light decoder, fewer steps",
            savings=_both("rolled", "second pass", "light", "part"),
        ),
        alone(
            "rolled_span", "rolled light, guided twice as long", savings=_both("rolled", "second pass", "light", "span")
        ),
        alone("rolled_unguided", "rolled windows, no guidance", savings=SAVED["rolled"], weight=0.0),
    )


def _wrong_spectra(protocol: Protocol) -> tuple[Arm, ...]:
    """The reference with the image prior of another world."""
    worlds = (("noise", "white noise", of_noise), ("ramps", "smooth ramps", of_ramps))
    rows = ((_guided(protocol, f"spectrum_{name}", f"spectrum of {title}"), world) for name, title, world in worlds)
    return tuple(replace(row, rebuild=world) for row, world in rows)


def _both(*names: str) -> dict[str, object]:
    return {key: value for name in names for key, value in SAVED[name].items()}


def _baselines(protocol: Protocol) -> tuple[Arm, ...]:
    """What there is without this pack's guidance."""
    half, whole = protocol.window_px // 2, protocol.window_px
    merge = ((MERGE_ATTENTION, {"end_percent": 0.5}),)
    return (
        _arm(protocol, "half_stride", "MultiDiffusion, windows half apart", tiler=_apart(half)),
        _arm(protocol, "no_overlap", "windows side by side", tiler=_apart(whole)),
        _guided(protocol, "half_stride_guided", "reference, windows half apart", tiler=_apart(half)),
        _arm(protocol, "mad", "merged attention (MAD)", patches=merge),
        _guided(protocol, "mad_guided", "merged attention, few guided steps", patches=merge, **OPTIONS["fewer steps"]),
        _arm(
            protocol,
            "context_windows",
            "the host's context windows",
            patches=(("ContextWindowsManual", _context_windows(protocol)),),
            rebuild=plain_sampler,
        ),
    )


def _apart(stride_px: int) -> dict[str, object]:
    return {"stride_x": stride_px, "stride_y": stride_px}


def _context_windows(protocol: Protocol) -> dict[str, object]:
    """The same windows along the width (dim 3 of [N, C, h, w]), which the node counts in latent cells of 8 px."""
    length, stride = protocol.window_px // 8, protocol.stride_px // 8
    return {
        "context_length": length,
        "context_overlap": length - stride,
        "context_schedule": "standard_static",
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": "pyramid",
        "dim": 3,
        "freenoise": False,
        "cond_retain_index_list": "",
        "split_conds_to_windows": False,
        "latent_retain_index_list": "",
        "causal_window_fix": False,
    }


def _tiled_diffusion(protocol: Protocol) -> Arm:
    """shiimizu/ComfyUI-TiledDiffusion with the same windows."""
    widgets = {
        "method": "MultiDiffusion",
        "tile_width": protocol.window_px,
        "tile_height": protocol.window_px,
        "tile_overlap": protocol.window_px - protocol.stride_px,
        "tile_batch_size": 8,
    }
    patches = (("TiledDiffusion", widgets),)
    return _arm(protocol, TILED_DIFFUSION, "TiledDiffusion", patches=patches, rebuild=plain_sampler)


def _arm(protocol: Protocol, name: str, title: str, **settings: object) -> Arm:
    return Arm(name, title, protocol.widths_px[0], range(1), **settings)


def _guided(
    protocol: Protocol,
    name: str,
    title: str,
    algorithm: str | None = None,
    savings: Mapping[str, object] | None = None,
    tiler: Mapping[str, object] | None = None,
    sampler: Mapping[str, object] | None = None,
    patches: tuple = (),
    **widgets: object,
) -> Arm:
    settings = {"savings": savings, "tiler": tiler or {}, "sampler": sampler or {}, "patches": patches}
    return _arm(protocol, name, title, algorithm=algorithm, guidance=widgets, **settings)
