"""What one table compares: a model, its prompts, the canvas and the settings that all rows share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.journal import write_whole
from demo.palettes import BIOMES

PAPER_PROMPTS = (
    "a photo of a mountain range at twilight",
    "a photo of a forest with a misty fog",
    "natural landscape in anime style illustration",
    "cartoon panorama of spring summer beautiful nature",
    "a photo of a lake under the northern lights",
    "a film photo of a beachside street under the sunset",
)
"""Six of the prompts that the paper prints panoramas of (MultiDiffusion's six are not all printed there)."""

GUIDANCE = {
    "end_percent": 0.2,
    "anchor": "centre window",
    "anchor_index": 0,
    "gradient": "through the model",
    "decay": 0.95,
    "start_percent": 0.0,
    "every_n": 1,
    "schedule": "percent",
    "max_move": 0.1,
}
"""Widgets of Perceptual Sync Guidance beside the weight, and what they are where a protocol does not say."""

SAVINGS = {
    "grid": "as tiled",
    "windows_guided": "all",
    "second_pass": True,
    "decoder": "full decoder",
    "shrink": 1,
    "part": 1.0,
    "span": 1.0,
    "strength": 1.0,
    "precision": "as loaded",
}
"""Widgets of Guidance Savings where a row does not say: nothing is saved."""


@dataclass(frozen=True)
class Protocol:
    """The settings behind every row of a table; the defaults are the paper's (section 5, Tables 1 to 3).

    checkpoint: a file of ComfyUI's models/checkpoints, None for the pack's demo model. widths_px: the canvas first,
    then the smaller ones of the table's second part. perceptual, style: choices of Load Perceptual Model. guidance:
    widgets of Perceptual Sync Guidance that every guided row starts from. ablation_weight: w of the rows that vary
    something else. panoramas: for each row; prompts take turns, so seed s belongs to prompt s modulo their number.
    crops: random ones of each, for the figures of single images; the paper takes one. references: single images
    that rows are compared with.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # of a file, in which no setting is guessed at

    checkpoint: str | None
    prompts: tuple[str, ...] = PAPER_PROMPTS
    negative: str = ""
    window_px: int = 512
    stride_px: int = 128
    blend: str = "uniform"
    widths_px: tuple[int, ...] = (3072, 2048, 1024)
    steps: int = 50
    cfg: float = 7.5
    sampler: str = "ddim"
    scheduler: str = "ddim_uniform"
    algorithm: str = "reference (Algorithm 1)"
    perceptual: str = "download LPIPS vgg (528 MB)"
    style: str = "download style VGG19 (548 MB)"
    guidance: Mapping[str, object] = field(
        default_factory=lambda: {"end_percent": 1.0, "gradient": "through the model", "max_move": 0.0}
    )
    weights: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0)
    ablation_weight: float = 20.0
    panoramas: int = 3000
    crops: int = 1
    references: int = 3000

    def __post_init__(self) -> None:
        if not self.prompts or not all(prompt.strip() for prompt in self.prompts):
            raise ValueError(f"prompts: at least one, none of them blank, got {self.prompts}")
        narrow = [width for width in self.widths_px if width < self.window_px]
        if narrow or not self.widths_px:
            raise ValueError(f"widths_px: at least the window's {self.window_px} px each, got {self.widths_px}")
        if min(self.panoramas, self.crops, self.references) < 1:
            counts = f"{self.panoramas}, {self.crops} and {self.references}"
            raise ValueError(f"panoramas, crops, references: at least 1 each, got {counts}")
        for name, numbers in (("weights", self.weights), ("widths_px", self.widths_px)):
            if len(set(numbers)) < len(numbers) or min(numbers, default=1) <= 0:
                raise ValueError(f"{name}: above 0 and each once, for every one is a row, got {numbers}")
        if unknown := self.guidance.keys() - GUIDANCE.keys():
            known = ", ".join(GUIDANCE)
            raise ValueError(f"guidance: no widget is called {', '.join(sorted(unknown))}; there are {known}")

    def prompt_of(self, seed: int) -> str:
        """The prompt of a seed's panorama in every row."""
        return self.prompts[seed % len(self.prompts)]

    @property
    def guides_every_step(self) -> bool:
        """Whether the rows over w already guide all steps, as the paper does."""
        widgets = {**GUIDANCE, **self.guidance}
        return widgets["end_percent"] == 1.0 and widgets["every_n"] == 1


DEMO = Protocol(
    checkpoint=None,
    prompts=BIOMES,
    window_px=128,
    stride_px=64,
    blend="feathered",
    widths_px=(768, 512, 256),
    algorithm="automatic",
    perceptual="scene (built in)",
    style="scene style (built in)",
    guidance={"end_percent": 0.2, "gradient": "image prior (Wiener)", "max_move": 0.1},
    panoramas=64,
    crops=6,
    references=320,
)
"""The demo graph's settings: a place without its time of day, guidance in the first ten of fifty steps."""

FRONTIER = replace(DEMO, stride_px=32, widths_px=(768,), steps=25, weights=(10.0,), ablation_weight=10.0)
"""The demo's with windows as close as the paper's, a quarter apart, and half the steps: what the savings start from."""


def save_protocol(protocol: Protocol, path: Path) -> None:
    """Write a protocol as JSON; a kill meanwhile leaves the one before."""
    write_whole(path, (json.dumps(asdict(protocol), indent=1) + "\n").encode())


def load_protocol(path: Path) -> Protocol:
    """Read a protocol; ValueError names the file when it is not one."""
    try:
        return TypeAdapter(Protocol).validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: not the settings of a table ({error})") from error
