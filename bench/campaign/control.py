"""What has to stay the same while cases of all kinds run: a clean run's bits, what is alive, the files."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.campaign.cases import Call, Thing
from bench.campaign.ground import Ground
from bench.campaign.strategies import APPLY, GUIDANCE, PANORAMA, TILER
from bench.campaign.verdicts import tensors_of
from bench.campaign.widgets import inputs_of, is_widget

TENSORS, BYTES = 4, 2**18
"""How much more may be alive than at the least: the host's own caches come and go."""
EXPECTED = ("temp", "spectra")
"""Folders where nodes write what they were asked to."""


@dataclass(frozen=True)
class State:
    """bits: a digest of the clean runs' outputs. tensors, bytes: that are alive. files: outside of what is expected."""

    bits: str
    tensors: int
    bytes: int
    files: frozenset[Path]


def observe(ground: Ground, folder: Path) -> State:
    """Run what is clean and look around. folder: where the host writes."""
    bits = hashlib.sha256()
    for call in clean_calls():
        ran = ground.run(call)
        if ran.failure is not None:
            raise RuntimeError(f"the clean run fails: {ran.failure}")
        for tensor in tensors_of(ran.outputs):
            bits.update(tensor.contiguous().cpu().numpy().tobytes())
    del ran
    count, size = alive()
    return State(bits.hexdigest(), count, size, frozenset(unexpected(folder)))


def clean_calls() -> tuple[Call, Call]:
    """A guided panorama, and the stock sampler on a model with windows; all widgets but these at their defaults."""
    model, vae = Thing("MODEL", {"name": "eps"}), Thing("VAE", {"name": "kl4"})
    prompts = {role: Thing("CONDITIONING", {"seed": k}) for k, role in enumerate(("positive", "negative"), 1)}
    canvas = {**prompts, "seed": 3, "steps": 2, "latent_image": Thing("LATENT", {"shape": (1, 4, 8, 16)})}
    sizes = {"window_width": 64, "window_height": 64, "stride_x": 32, "stride_y": 32}
    windows = untouched(TILER, **sizes, wrap_x=True)
    given = {"vae": vae, "perceptual_model": Thing("PERCEPTUAL", {}), "weight": 100.0, "end_percent": 1.0}
    guidance = untouched(GUIDANCE, **given)
    guided = untouched(PANORAMA, model=model, windows=windows, guidance=guidance, scheduler="normal", **canvas)
    applied = untouched(APPLY, model=model, windows=windows)
    stock = {"cfg": 4.0, "sampler_name": "dpmpp_2m", "scheduler": "normal", "denoise": 1.0}
    return guided, Call("KSampler", {"model": applied, **canvas, **stock})


def untouched(node: str, **given: object) -> Call:
    """A node with its widgets as they come, but for what is given."""
    inputs = inputs_of(node)
    return Call(node, {**{each.id: each.default for each in inputs if is_widget(each)}, **given})


def alive() -> tuple[int, int]:
    """Tensors that hold memory, and their bytes."""
    gc.collect()
    found = [each for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter)]
    held = {storage.data_ptr(): storage.nbytes() for storage in (each.untyped_storage() for each in found)}
    return len(found), sum(held.values())


def unexpected(folder: Path) -> list[Path]:
    """Files below a folder that no node was asked to write."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path for path in files if not any(name in path.parts[:-1] for name in EXPECTED) or path.suffix == ".part"]


def differences(before: State, after: State) -> Mapping[str, object]:
    """What is not as it was, by name; empty where all is."""
    found: dict[str, object] = {}
    if after.bits != before.bits:
        found["bits"] = 1
    if after.tensors > before.tensors + TENSORS or after.bytes > before.bytes + BYTES:
        found["alive"] = f"{after.tensors - before.tensors} tensors, {after.bytes - before.bytes} bytes more"
    if new := after.files - before.files:
        found["files"] = sorted(map(str, new))
    return found
