"""From scores of pictures to the figures of a row: means over prompts as in the paper, and intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bench.arms import REFERENCE, SINGLE, UNGUIDED, Arm
from bench.intervals import Triple, draws_of, interval, triple
from bench.judges import INTRA_LPIPS, INTRA_STYLE
from bench.protocol import Protocol
from bench.score import Score
from syncdiffusion_core.metrics.diversity import Diversity
from syncdiffusion_core.metrics.frechet import frechet_distance
from syncdiffusion_core.metrics.giqa import giqa
from syncdiffusion_core.metrics.kernel import KernelDistance

NEIGHBOURS = 8
FEWEST_FOR_FID = 1000
"""Panoramas below which FID, biased upwards, is left out for KID."""


@dataclass(frozen=True)
class Column:
    """A figure. direction: ↓ where lower is better, ↑ where higher is, empty where neither. It is shown times scale."""

    key: str
    title: str
    direction: str
    scale: float = 1.0
    digits: int = 3

    @property
    def heading(self) -> str:
        """Of a table."""
        unit = "" if self.scale == 1 else f" x {self.scale:g}"
        return f"{self.title}{unit} {self.direction}".strip()


PAPER_COLUMNS = (
    Column(INTRA_LPIPS, "Intra-LPIPS", "↓"),
    Column(INTRA_STYLE, "Intra-Style-L", "↓", 1000.0),
    Column("giqa", "Mean-GIQA", "↑", 1000.0, 2),
    Column("fid", "FID", "↓", 1.0, 2),
    Column("kid", "KID", "↓", 1000.0, 1),
    Column("caption", "Mean-CLIP-S", "↑", 1.0, 2),
)
FURTHER_COLUMNS = (
    Column(f"{INTRA_LPIPS} (guiding network)", "Intra-LPIPS, guiding network", "↓"),
    Column("agree", "windows at the majority's time", "↑"),
    Column("alike", "all windows alike", "↑"),
    Column("label_distance", "label distance", "↓"),
    Column("diversity", "diversity", "↑", 1.0, 2),
    Column("border", "border seam", "↓", 1.0, 2),
    Column("wrap", "wrap seam", "↓", 1.0, 2),
    Column("variance", "variance", "", 1000.0, 1),
)


def paper_columns(caption_title: str) -> tuple[Column, ...]:
    """The paper's columns with the name of what scores captions."""
    return tuple(replace(c, title=caption_title) if c.key == "caption" else c for c in PAPER_COLUMNS)


def further_columns(rows: Iterable[Row]) -> tuple[Column, ...]:
    """Beside the paper's: those of networks that score in addition to the first, then what the demo's judges say."""
    fixed = {column.key for column in (*PAPER_COLUMNS, *FURTHER_COLUMNS)}
    added = dict.fromkeys(key for row in rows for key in row.interval if key not in fixed)
    scale = {INTRA_LPIPS: 1.0, INTRA_STYLE: 1000.0}
    networks = [key for key in added if key.partition(" (")[0] in scale]
    return (*(Column(key, key, "↓", scale[key.partition(" (")[0]]) for key in networks), *FURTHER_COLUMNS)


@dataclass(frozen=True)
class Series:
    """An arm's scores in the order of its seeds. values: [P] by column; features [P, K, D]; prompts [P] by number."""

    seeds: tuple[int, ...]
    prompts: Tensor
    values: Mapping[str, Tensor]
    features: Tensor | None

    def rows(self, chosen: Sequence[int] | Tensor) -> Series:
        """Only these rows."""
        index = torch.as_tensor(chosen, dtype=torch.long)
        features = None if self.features is None else self.features[index]
        values = {key: column[index] for key, column in self.values.items()}
        return Series(tuple(self.seeds[i] for i in index.tolist()), self.prompts[index], values, features)


@dataclass(frozen=True)
class Row:
    """A row of the table. by_prompt: mean and sd over prompts. interval: mean and 95 % interval over panoramas.

    change: the same of the difference to the baseline's of the same seeds (and size). each: figures of single
    panoramas by seed.
    """

    arm: Arm
    count: int
    by_prompt: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    interval: dict[str, Triple] = field(default_factory=dict)
    change: dict[str, Triple] = field(default_factory=dict)
    each: dict[str, dict[int, float]] = field(default_factory=dict)


def figures(
    protocol: Protocol, arms: Sequence[Arm], scores: Iterable[Score], standardise: bool, against: str | None = None
) -> list[Row]:
    """A row for every arm that has scores. against: the row that changes are from, None for MultiDiffusion's."""
    series = _collect(protocol, scores, standardise)
    reference = series.pop(REFERENCE, None)
    series = {name: _with_giqa(each, reference) for name, each in series.items()}
    baselines = {arm.name: against or _baseline(protocol, arm) for arm in arms}
    kept = {name: _set_statistics(series[name], reference) for name in set(baselines.values()) & series.keys()}
    rows = []
    for arm in arms:
        if (own := series.get(arm.name)) is None:
            continue
        statistics = kept[arm.name] if arm.name in kept else _set_statistics(own, reference)
        each = {key: dict(zip(own.seeds, values.tolist(), strict=True)) for key, values in own.values.items()}
        row = Row(arm, len(own.seeds), _by_prompt(own, reference), _intervals(own, statistics), each=each)
        if (name := baselines[arm.name]) in kept and name != arm.name:
            row = replace(row, change=_changes(own, statistics, series[name], kept[name]))
        rows.append(row)
    return rows


def _baseline(protocol: Protocol, arm: Arm) -> str:
    """The row of MultiDiffusion of an arm's size; single images have none."""
    if arm.name == SINGLE:
        return arm.name
    return UNGUIDED if arm.width_px not in protocol.widths_px[1:] else f"{UNGUIDED}_{arm.width_px}"


def _collect(protocol: Protocol, scores: Iterable[Score], standardise: bool) -> dict[str, Series]:
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.arm, []).append(score)
    series = {name: _series(protocol, sorted(group, key=lambda s: s.seed)) for name, group in groups.items()}
    if not standardise or REFERENCE not in series:
        return series
    features = series[REFERENCE].features.flatten(0, 1)
    mean, deviation = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    return {name: replace(each, features=(each.features - mean) / deviation) for name, each in series.items()}


def _series(protocol: Protocol, scores: list[Score]) -> Series:
    keys = [key for key in scores[0].values if all(key in score.values for score in scores)]
    values = {key: torch.tensor([score.values[key] for score in scores], dtype=torch.float64) for key in keys}
    seeds = tuple(score.seed for score in scores)
    prompts = torch.tensor([seed % len(protocol.prompts) for seed in seeds])
    features = None if scores[0].features is None else torch.stack([score.features for score in scores]).double()
    return Series(seeds, prompts, values, features)


def _with_giqa(series: Series, reference: Series | None) -> Series:
    """Mean GIQA of each panorama's crops to the references of its prompt, where there are enough of them.

    Left out with a warning where a crop equals a reference, such as black pictures of a decoder that overflows.
    """
    if series.features is None or reference is None:
        return series
    scores = torch.full((len(series.seeds),), float("nan"), dtype=torch.float64)
    for prompt in series.prompts.unique():
        own, alike = series.prompts == prompt, _crops(reference, reference.prompts == prompt)
        if len(alike) < NEIGHBOURS:
            return series
        try:
            each = giqa(_crops(series, own), alike, NEIGHBOURS)
        except ValueError as error:
            warnings.warn(f"a row has no GIQA, for prompt {int(prompt) + 1}: {error}", stacklevel=2)
            return series
        scores[own] = each.unflatten(0, (int(own.sum()), -1)).mean(dim=1)
    return replace(series, values={**series.values, "giqa": scores})


def _crops(series: Series, chosen: Tensor | slice = slice(None)) -> Tensor:
    """Features of all crops of the chosen panoramas: [P K, D]."""
    return series.features[chosen].flatten(0, 1)


Statistic = Callable[[Tensor], Tensor]
"""A figure of a set of panoramas for draws [T, R] of them: [T]."""


def _set_statistics(series: Series, reference: Series | None) -> dict[str, Statistic]:
    if series.features is None or reference is None or len(series.seeds) < 2 or len(reference.seeds) < 2:
        return {}
    statistics: dict[str, Statistic] = {"kid": KernelDistance(series.features, _crops(reference)).resampled}
    if max(series.prompts.bincount()) > 1 and max(reference.prompts.bincount()) > 1:
        own, scale = Diversity(series.features, series.prompts), Diversity(reference.features, reference.prompts).of()
        if scale > 0:
            statistics["diversity"] = lambda draws: own.resampled(draws) / scale
    return statistics


def _by_prompt(series: Series, reference: Series | None) -> dict[str, tuple[float, float | None]]:
    """Mean and standard deviation over prompts of each figure within a prompt; no deviation of one prompt."""
    columns: dict[str, list[float]] = {}
    for prompt in series.prompts.unique():
        own = series.rows((series.prompts == prompt).nonzero()[:, 0])
        for key, values in own.values.items():
            columns.setdefault(key, []).append(float(values.mean()))
        if reference is not None:
            alike = reference.rows((reference.prompts == prompt).nonzero()[:, 0])
            for key, statistic in _set_statistics(own, alike).items():
                columns.setdefault(key, []).append(float(statistic(_all(own))))
            enough = len(series.seeds) >= FEWEST_FOR_FID and min(len(own.seeds), len(alike.seeds)) > 1
            if own.features is not None and enough:
                columns.setdefault("fid", []).append(frechet_distance(_crops(own), _crops(alike)))
    spread = {key: torch.tensor(each, dtype=torch.float64) for key, each in columns.items()}
    return {key: (float(e.mean()), float(e.std()) if len(e) > 1 else None) for key, e in spread.items()}


def _all(series: Series) -> Tensor:
    """The draw that holds every panorama once: [1, P]."""
    return torch.arange(len(series.seeds))[None]


def _intervals(series: Series, statistics: Mapping[str, Statistic]) -> dict[str, Triple]:
    result = {key: interval(values) for key, values in series.values.items()}
    for key, statistic in statistics.items():
        result[key] = triple(float(statistic(_all(series))), statistic(draws_of(len(series.seeds))))
    return result


def _changes(
    series: Series, statistics: Mapping[str, Statistic], baseline: Series, others: Mapping[str, Statistic]
) -> dict[str, Triple]:
    """Of each figure against the baseline's, panoramas paired by seed."""
    common = sorted(set(series.seeds) & set(baseline.seeds))
    if not common:
        return {}
    own, other = (torch.tensor([each.seeds.index(seed) for seed in common]) for each in (series, baseline))
    result = {
        key: interval(values[own] - baseline.values[key][other])
        for key, values in series.values.items()
        if key in baseline.values
    }
    draws = torch.cat([torch.arange(len(common))[None], draws_of(len(common))])  # everyone once, then the draws
    for key in (key for key in statistics if key in others):
        value, *drawn = statistics[key](own[draws]) - others[key](other[draws])
        if not value.isnan():
            result[key] = triple(float(value), torch.stack(drawn))
    return result
