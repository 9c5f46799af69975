"""Figures of single pictures, kept as they are computed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.arms import REFERENCE, SINGLE, Arm, reference_set
from bench.journal import Journal
from bench.judges import Judges
from bench.pictures import Unusable, load_picture, picture
from bench.protocol import Protocol
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.metrics.coherence import distances, mean_of_pairs, side_by_side
from syncdiffusion_core.metrics.crops import random_crop
from syncdiffusion_core.metrics.labels import agreement, label_distance
from syncdiffusion_core.metrics.seam import border_seam, wrap_seam
from syncdiffusion_core.views.schedule import CellGrid

BORDER_REACH_PX = 4  # half a latent cell on each side: a decoder spreads a step over about as much


@dataclass(frozen=True)
class Score:
    """One picture's figures; ``syncdiffusion_core.metrics`` says what they mean.

    picture: digest of the file or files, so that a picture made anew is scored anew. values: by column; what the
    judges do not cover is absent. features: of the random crops, [K, D] or none.
    """

    arm: str
    seed: int
    picture: str
    values: dict[str, float] = field(default_factory=dict)
    features: Tensor | None = None

    def row(self, judges: str) -> dict:
        """As a line of the journal."""
        packed = None
        if self.features is not None:
            packed = [base64.b64encode(crop.float().numpy().tobytes()).decode() for crop in self.features]
        return {**asdict(self), "features": packed, "judges": judges}

    @classmethod
    def from_row(cls, row: dict) -> Score:
        """Of a line of the journal."""
        features = None
        if row["features"] is not None:
            crops = [np.frombuffer(base64.b64decode(crop), "<f4") for crop in row["features"]]
            features = torch.from_numpy(np.stack(crops))
        return cls(row["arm"], row["seed"], row["picture"], row["values"], features)


def score_all(protocol: Protocol, arms: Iterable[Arm], folder: Path, judges: Judges) -> tuple[list[Score], list[str]]:
    """Scores of every picture that is there, references among them, and what could not be used.

    What was scored before is taken from scores.jsonl in the folder; each new score is there before the next begins.
    """
    journal = Journal(folder / "scores.jsonl")
    known = {(s.arm, s.seed, s.picture): s for s in (Score.from_row(r) for r in journal if r["judges"] == judges.name)}
    problems = [f"{folder / 'scores.jsonl'}, line {n} is damaged and left out" for n in journal.damaged]
    scores, jobs = [], [(arm, seed) for arm in (reference_set(protocol), *arms) for seed in arm.seeds]
    for arm, seed in tqdm(jobs, desc="scores", unit="picture"):
        try:
            paths = pictures_of(protocol, arm, seed, folder)
            key = arm.name, seed, _digest(paths)
            if key not in known:
                known[key] = score(protocol, arm, seed, folder, judges)
                journal.append(known[key].row(judges.name))
            scores.append(known[key])
        except Unusable as error:
            problems.append(str(error))
    return scores, problems


def pictures_of(protocol: Protocol, arm: Arm, seed: int, folder: Path) -> list[Path]:
    """The files behind a score: the panorama, or for single images the crop and those put side by side.

    Unrelated images of one prompt, as many as the panorama has windows, give the scale that the paper takes from
    random pairs of its reference set.
    """
    own = picture(folder, arm, seed)
    if arm.name != SINGLE:
        return [own]
    references = reference_set(protocol)
    alike = [s for s in references.seeds if protocol.prompt_of(s) == protocol.prompt_of(seed)]
    count = min(len(alike), protocol.widths_px[0] // protocol.window_px)
    chosen = np.random.default_rng(seed).choice(alike, count, replace=False)
    return [own, *(picture(folder, references, int(s)) for s in chosen)]


@torch.no_grad()
def score(protocol: Protocol, arm: Arm, seed: int, folder: Path, judges: Judges) -> Score:
    """All figures of one picture. Raises Unusable."""
    side, paths = protocol.window_px, pictures_of(protocol, arm, seed, folder)
    width = side if arm.name == SINGLE else arm.width_px
    images = [load_picture(path, width, side) for path in paths]
    panorama = torch.cat(images[1:] or images, dim=2)  # single images: those put side by side, without the crop
    count = protocol.crops if width > side else 1
    crops = torch.stack([random_crop(images[0], side, seed * count + k) for k in range(count)])
    values = {} if arm.name == REFERENCE else _values(panorama, protocol, arm, judges)
    if judges.captions is not None:
        values["caption"] = float(judges.captions.score(crops, [protocol.prompt_of(seed)]).mean())
    features = None if judges.features is None else judges.features.embed(crops).cpu()
    return Score(arm.name, seed, _digest(paths), values, features)


def _values(panorama: Tensor, protocol: Protocol, arm: Arm, judges: Judges) -> dict[str, float]:
    windows = side_by_side(panorama, protocol.window_px)  # [W, 3, h, w]
    values = {"wrap": wrap_seam(panorama), "variance": float(windows.flatten(2).var(dim=2).mean())}
    if len(windows) == 1:  # no coherent panorama, though all its pairs, none, are alike
        return values
    for name, network in judges.intra.items():
        device = next(network.parameters()).device
        values[name] = mean_of_pairs(distances(windows.to(device), network))
    values["border"] = border_seam(panorama, borders(protocol, arm, panorama.shape[2]), BORDER_REACH_PX)
    if judges.labels is not None:
        probabilities = judges.labels(windows)
        values["agree"] = float(agreement(probabilities.argmax(dim=1)))
        values["alike"] = float(values["agree"] == 1)
        values["label_distance"] = label_distance(probabilities)
    return values


def borders(protocol: Protocol, arm: Arm, width_px: int) -> list[int]:
    """Columns of a panorama at which one of the arm's windows begins or ends; of single images, where they meet."""
    side = protocol.window_px
    stride = side if arm.name == SINGLE else arm.tiler.get("stride_x", protocol.stride_px)
    windows = WindowLayout(side, side, stride, stride).tiled((side, width_px), CellGrid(1))
    lefts = {left for _, left in windows.origins}
    return sorted((lefts | {left + side for left in lefts}) - {0, width_px})


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            raise Unusable(f"{path} is missing: run without --score-only to have it made")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
