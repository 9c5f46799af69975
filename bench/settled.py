"""What a results folder was begun with: nothing else may be mixed into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from bench.arms import Arm
from bench.graphs import graph_of
from bench.journal import write_whole
from bench.protocol import Protocol, load_protocol, save_protocol


def settle(protocol: Protocol, arms: Sequence[Arm], folder: Path) -> None:
    """Keep settings and rows in the folder, or hold them against those its results were made with.

    More panoramas, references or rows than before may be asked for; ValueError names whatever else differs.
    """
    _settle_protocol(protocol, folder / "protocol.json")
    _settle_rows(protocol, arms, folder)


def settle_seeds(first: int, folder: Path) -> None:
    """Keep the first seed in the folder, or hold it against that of its results. ValueError where it is another.

    Seeds that something was tuned on and seeds that nothing was are never in one table.
    """
    path = folder / "first_seed.json"
    if path.exists() and (before := json.loads(path.read_text(encoding="utf-8"))) != first:
        raise ValueError(
            f"--first-seed: {folder} holds results of the seeds from {before}, got {first}: choose another --out"
        )
    write_whole(path, f"{first}\n".encode())


def _settle_protocol(protocol: Protocol, path: Path) -> None:
    if path.exists():
        before = replace(load_protocol(path), panoramas=protocol.panoramas, references=protocol.references)
        differing = [f.name for f in fields(Protocol) if getattr(before, f.name) != getattr(protocol, f.name)]
        if differing:
            raise ValueError(
                f"{path.parent} holds results of other settings ({', '.join(differing)} differ): choose another --out, "
                "or the settings of its protocol.json"
            )
    save_protocol(protocol, path)


def _settle_rows(protocol: Protocol, arms: Sequence[Arm], folder: Path) -> None:
    """By the graphs of their pictures: another version of this pack may make a row in another way."""
    path = folder / "rows.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    now = {arm.name: digest_of(protocol, arm) for arm in arms}
    made = [name for name in now if (folder / "pictures" / name).exists()]
    if changed := [name for name in made if before.get(name, now[name]) != now[name]]:
        raise ValueError(
            f"{folder}: the graphs of {', '.join(changed)} are not those its pictures were made with: choose another "
            "--out, or delete their folders below pictures"
        )
    write_whole(path, (json.dumps({**before, **now}, indent=1) + "\n").encode())


def digest_of(protocol: Protocol, arm: Arm) -> str:
    """Of the graph that makes an arm's pictures."""
    graph = json.dumps(graph_of(protocol, arm, seed=0), sort_keys=True)
    return hashlib.sha256(graph.encode()).hexdigest()[:16]
