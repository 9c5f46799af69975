"""The shipped workflows and the API prompts that the interface makes of them (tests/golden/prompts)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows"
PROMPTS = ROOT / "tests" / "golden" / "prompts"
Graph = dict[str, dict[str, Any]]
# Of so few steps ddim_uniform starts behind the part of the schedule that is guided.
FEW_STEPS = {"steps": 4, "scheduler": "normal"}


def workflow(name: str) -> dict:
    """A shipped workflow, format 0.4."""
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def prompt(name: str) -> Graph:
    """The API prompt of a shipped workflow."""
    return json.loads((PROMPTS / f"{name}.json").read_text(encoding="utf-8"))


VIEWERS = {
    "Load3D": ("model_file", "image", "width", "height"),
    "Preview3DAdvanced": ("model_3d", "viewport_state", "width", "height"),
    "PreviewGaussianSplat": ("model_3d", "viewport_state", "width", "height"),
    "SaveGLB": ("mesh", "filename_prefix"),
}
"""The host's viewers of 3D files, and what they are asked: their interface sends buttons and cameras besides."""
STATES = ("image", "viewport_state")


def settled(graph: Graph) -> Graph:
    """A prompt without what the host's viewers add to it, which is another one each time."""
    changed = json.loads(json.dumps(graph))
    for node in changed.values():
        asked = VIEWERS.get(node["class_type"])
        if asked is not None:
            known = {name: value for name, value in node["inputs"].items() if name in asked}
            node["inputs"] = {name: "" if name in STATES else value for name, value in known.items()}
    return changed


def of_class(graph: Graph, class_type: str) -> list[str]:
    """Ids of the nodes of that class, in the order of the graph."""
    return [node_id for node_id, node in graph.items() if node["class_type"] == class_type]


def with_inputs(graph: Graph, settings: dict[str, dict[str, Any]]) -> Graph:
    """A copy of the graph; settings: inputs by class, put into every node of it."""
    changed = json.loads(json.dumps(graph))
    for class_type, values in settings.items():
        for node_id in of_class(changed, class_type):
            changed[node_id]["inputs"].update(values)
    return changed


def without(graph: Graph, node_id: str, *objects: str) -> Graph:
    """A copy without that node; links to its sockets go to the nodes of these names, one for each socket."""
    changed = json.loads(json.dumps(graph))
    del changed[node_id]
    for node in changed.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == node_id:
                node["inputs"][name] = [objects[value[1]], 0]
    return changed


def small_demo(**sampler: Any) -> Graph:
    """The demo's prompt on a narrower canvas in few steps, one of them guided."""
    settings = {"EmptyLatentImage": {"width": 256}, "SyncDiffusionPanoramaSampler": {**FEW_STEPS, **sampler}}
    return with_inputs(prompt("SyncDiffusion demo"), settings)
