"""The networks that score, none of which has guided unless its name says so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from bench.networks import (
    CaptionScorer,
    ClipFeatures,
    DemoCaptionScore,
    DemoFeatures,
    FeatureNetwork,
    InceptionFeatures,
    clip_files,
)
from demo.export import WEIGHTS
from demo.judge import label_probabilities, load_judge
from syncdiffusion_core.perceptual.distance import PerceptualDistance
from syncdiffusion_core.perceptual.files import load_perceptual
from syncdiffusion_core.perceptual.style import SceneStyle, StyleNet

SCORING = 1
"""Counted up when a figure changes its meaning: scores of another count are computed anew."""
INTRA_LPIPS, INTRA_STYLE = "Intra-LPIPS", "Intra-Style-L"


@dataclass(frozen=True)
class Judges:
    """What one table is scored with. A part that is None leaves its columns out.

    intra: distances by the name of their column. features: of crops, for GIQA, FID and KID; standardise: by the
    reference's mean and deviation first. captions: CLIP score or its stand-in, in a column called caption_title.
    labels: windows [W, 3, H, W] -> distributions [W, K]. name: says which networks these are; scores by others do not
    mix.
    """

    name: str
    intra: Mapping[str, PerceptualDistance] = field(default_factory=dict)
    features: FeatureNetwork | None = None
    standardise: bool = False
    captions: CaptionScorer | None = None
    caption_title: str = "Mean-CLIP-S"
    labels: Callable[[Tensor], Tensor] | None = None


def demo_judges() -> Judges:
    """The demo world's own: its judge, which no guidance has seen, and the guiding network beside it."""
    judge, guide = load_judge(), load_perceptual(WEIGHTS / "scene_perceptual.safetensors")
    return Judges(
        name=f"demo {SCORING} " + _digest([WEIGHTS / "judge.safetensors", WEIGHTS / "scene_perceptual.safetensors"]),
        intra={
            INTRA_LPIPS: judge,
            INTRA_STYLE: SceneStyle(judge),
            f"{INTRA_LPIPS} (guiding network)": guide,
        },
        features=DemoFeatures(),
        standardise=True,
        captions=DemoCaptionScore(),
        caption_title="caption score",
        labels=lambda windows: label_probabilities(judge, windows)[0],
    )


def file_judges(perceptual: Sequence[Path], inception: Path | None, clip: Path | None, device: str) -> Judges:
    """From the user's files: LPIPS or style networks (the first LPIPS is the paper's column), Inception, CLIP."""
    intra: dict[str, PerceptualDistance] = {}
    for path in perceptual:
        network = load_perceptual(path).to(device)
        title = INTRA_STYLE if isinstance(network, StyleNet) else INTRA_LPIPS
        intra[title if title not in intra else f"{title} ({path.stem})"] = network
    features = None if inception is None else InceptionFeatures(inception, device)
    captions = None if clip is None else ClipFeatures(clip, device)
    files = [*perceptual, *([] if features is None else [features.file]), *([] if clip is None else clip_files(clip))]
    return Judges(name=f"files {SCORING} " + _digest(files), intra=intra, features=features, captions=captions)


def _digest(paths: Sequence[Path]) -> str:
    """Of the files' contents."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()[:12]
