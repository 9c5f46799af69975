"""What users' workflows depend on: ids, sockets, widgets, their defaults and ranges, and what explains them.

Golden file: tests/golden/surface.json. After a wanted change,
`SYNCDIFFUSION_UPDATE_GOLDEN=1 python -m pytest tests/host/test_surface.py` writes it anew; look at the difference.
"""

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "surface.json"
IDS = [
    "SyncDiffusionApplyWindows",
    "SyncDiffusionBakeViewsToTexture",
    "SyncDiffusionCameraRig",
    "SyncDiffusionCoherence",
    "SyncDiffusionCompare",
    "SyncDiffusionEquirectToViews",
    "SyncDiffusionGuidance",
    "SyncDiffusionImageViews",
    "SyncDiffusionLatentSpectrum",
    "SyncDiffusionLoadDemoModel",
    "SyncDiffusionLoadDemoModelAround",
    "SyncDiffusionLoadDemoModelObjects",
    "SyncDiffusionLoadPerceptualModel",
    "SyncDiffusionMergeAttention",
    "SyncDiffusionMeshViews",
    "SyncDiffusionPanoramaDecode",
    "SyncDiffusionPanoramaDepthHints",
    "SyncDiffusionPanoramaSampler",
    "SyncDiffusionPreviewPanorama",
    "SyncDiffusionRegionPrompts",
    "SyncDiffusionSampler",
    "SyncDiffusionSavings",
    "SyncDiffusionSphereViews",
    "SyncDiffusionSynchroniseViews",
    "SyncDiffusionViewPrompts",
    "SyncDiffusionViewSampler",
    "SyncDiffusionViewTransition",
    "SyncDiffusionViewsToEquirect",
    "SyncDiffusionWindowPrompts",
    "SyncDiffusionWindowTiler",
]
OF_THE_HOST = {"sampler_name": "the samplers of ComfyUI", "scheduler": "the schedulers of ComfyUI"}
OF_THE_MACHINE = {"perceptual_name": "scene (built in), scene style (built in), files, downloads"}
KEPT = ("default", "min", "max", "step", "options", "advanced", "control_after_generate")


def surface_of(cls: type) -> dict:
    """The part of a node that saved workflows and API prompts rely on."""
    info = cls.GET_NODE_INFO_V1()
    return {
        "display_name": info["display_name"],
        "category": info["category"],
        "output_node": info["output_node"],
        "inputs": {
            section: {name: _input(name, spec) for name, spec in info["input"].get(section, {}).items()}
            for section in ("required", "optional")
        },
        "outputs": [list(pair) for pair in zip(info["output_name"], info["output"], strict=True)],
    }


def _input(name: str, spec: tuple) -> dict:
    kept = {key: spec[1][key] for key in KEPT if key in spec[1]}
    if name in OF_THE_HOST:
        kept["options"] = OF_THE_HOST[name]
    return {"type": spec[0], **kept}


def inputs_of(cls: type) -> dict[str, tuple[str, dict, bool]]:
    """(type, its settings, whether it is optional) of each input, in the order of the interface."""
    sections = cls.GET_NODE_INFO_V1()["input"]
    return {
        name: (spec[0], spec[1], section == "optional")
        for section in ("required", "optional")
        for name, spec in sections.get(section, {}).items()
    }


def test_surface_is_the_golden_one(pack):
    surface = json.loads(json.dumps({name: surface_of(pack[name]) for name in sorted(pack)}))
    if os.environ.get("SYNCDIFFUSION_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(surface, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert surface == json.loads(GOLDEN.read_text(encoding="utf-8")), (
        "the nodes' surface changed: saved workflows may break. If it is wanted, see this file's docstring"
    )


def test_ids(pack):
    assert sorted(pack) == IDS
    assert all(re.fullmatch(r"SyncDiffusion[A-Za-z]+", node_id) for node_id in pack)


@pytest.mark.parametrize("node_id", IDS)
def test_node_explains_itself(pack, node_id):
    schema = pack[node_id].GET_SCHEMA()
    assert len(schema.description) > 40
    assert schema.category == "SyncDiffusion"
    assert len(schema.search_aliases) >= 3
    assert schema.display_name
    assert schema.display_name.lower() not in (alias.lower() for alias in schema.search_aliases)
    for socket in [*schema.inputs, *schema.outputs]:
        name = socket.display_name or socket.id
        assert socket.tooltip, f"{name} has no tooltip"
        assert socket.tooltip.rstrip(".").lower() != name.lower()
        assert socket.tooltip.endswith("."), f"the tooltip of {name} is not a sentence: {socket.tooltip}"


@pytest.mark.parametrize("node_id", IDS)
def test_expert_widgets_come_last(pack, node_id):
    advanced = [bool(settings.get("advanced")) for _, settings, _ in inputs_of(pack[node_id]).values()]
    first = advanced.index(True) if True in advanced else len(advanced)
    types = [kind for kind, _, optional in inputs_of(pack[node_id]).values() if not optional][first:]
    assert all(advanced[first : first + len(types)]), "a plain widget stands behind an expert one"


class TestHelp:
    """web/docs/<node_id>.md says what the schema says."""

    @pytest.mark.parametrize("node_id", IDS)
    def test_form(self, pack, node_id):
        text = _page(node_id)
        lines = text.splitlines()
        assert lines[0] == f"# {pack[node_id].GET_SCHEMA().display_name}"
        assert len(lines[2]) > 80, "a paragraph after the title"
        headings = [line for line in lines if line.startswith("#")]
        assert headings[1:] == ["## Inputs", "## Outputs"]
        assert text.count("![") <= 1

    @pytest.mark.parametrize("node_id", IDS)
    def test_inputs(self, pack, node_id):
        rows = _table(node_id, "Inputs")
        declared = inputs_of(pack[node_id])
        assert [row[0] for row in rows] == list(declared)
        for (name, effect), (kind, settings, optional) in zip(rows, declared.values(), strict=True):
            sentence, facts = re.fullmatch(r"(.+\.) \*(.+)\.\*", effect).groups()
            assert len(sentence) > 15, name
            assert facts == _facts(name, kind, settings, optional), name

    @pytest.mark.parametrize("node_id", IDS)
    def test_outputs(self, pack, node_id):
        names = [output.display_name for output in pack[node_id].GET_SCHEMA().outputs]
        assert [row[0] for row in _table(node_id, "Outputs")] == names

    @pytest.mark.parametrize("node_id", IDS)
    def test_picture_is_there_and_small(self, node_id):
        for name in re.findall(r"!\[[^\]]{10,}\]\(([^)]+)\)", _page(node_id)):
            assert (ROOT / "web" / "docs" / name).stat().st_size < 120_000

    def test_no_page_without_node(self):
        assert sorted(path.stem for path in (ROOT / "web" / "docs").glob("*.md")) == IDS

    def test_pictures_are_used_and_light(self):
        pictures = {path for path in (ROOT / "web").rglob("*") if path.suffix in (".jpg", ".png", ".webp")}
        pages = "".join(_page(node_id) for node_id in IDS)
        assert all(path.name in pages for path in pictures)
        assert sum(path.stat().st_size for path in pictures) < 1_000_000


@pytest.mark.parametrize("node_id", IDS)
def test_some_workflow_uses_it(node_id):
    workflows = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "workflows").glob("*.json")]
    assert any(node["type"] == node_id for workflow in workflows for node in workflow["nodes"])


def _page(node_id: str) -> str:
    return (ROOT / "web" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")


def _table(node_id: str, heading: str) -> list[list[str]]:
    """Cells of the table under a heading, without its head."""
    section = _page(node_id).split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def _facts(name: str, kind: str, settings: dict, optional: bool) -> str:
    """What stands in italics behind an input's effect: its default and the values it takes, or its type."""
    values = _values(name, kind, settings)
    if optional:
        return f"Optional; {values}"
    return "; ".join(filter(None, [f"Default {_default(settings)}" if "default" in settings else "", values]))


def _default(settings: dict) -> str:
    value = settings["default"]
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == "":
        return "empty"
    return _number(value)


def _values(name: str, kind: str, settings: dict) -> str:
    """The values an input takes, or its type."""
    if kind in ("INT", "FLOAT"):
        step = settings.get("step", 1)
        span = f"{_number(settings['min'])} to {_number(settings['max'])}"
        return span if step == 1 else f"{span}, step {_number(step)}"
    if kind == "BOOLEAN":
        return ""
    if kind == "COMBO":
        return {**OF_THE_HOST, **OF_THE_MACHINE}.get(name) or ", ".join(settings["options"])
    return kind


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
