"""The shipped workflows: their files, against what the running host knows, and run with small models."""

import importlib
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
STANDS_IN = ["SD1.5 panorama", "SD2.1 panorama", "SDXL panorama", "Flux panorama", "vertical panorama"]
TITLE_PX = 30
SAMPLER = "SyncDiffusionPanoramaSampler"
SIZES = ("window_width", "window_height", "stride_x", "stride_y")
ON_DISK = {  # choices that depend on the user's files
    ("CheckpointLoaderSimple", "ckpt_name"),
    ("ControlNetLoader", "control_net_name"),
    ("LoadMoGeModel", "model_name"),
    ("LoadImage", "image"),
}


def test_every_workflow_of_the_plan_is_there():
    wanted = ["demo", *STANDS_IN, "loop panorama", "SamplerCustomAdvanced", "window prompts", "regional panorama"]
    wanted += ["ControlNet panorama", "outpaint", "compare", "presets", "short cuts"]
    wanted += ["ambiguous image", "synchronised views"]
    wanted += ["360 demo", "360 panorama", "360 SDXL", "360 Flux", "360 from depth"]
    wanted += ["texture", "texture edit", "splat"]
    assert sorted(f"SyncDiffusion {name}" for name in wanted) == NAMES


@pytest.mark.parametrize("name", NAMES)
class TestFile:
    """What the interface and the Manager read from a workflow's file."""

    def test_links_fit_both_ends(self, graphs, name):
        workflow = graphs.workflow(name)
        nodes = {node["id"]: node for node in workflow["nodes"]}
        assert workflow["version"] == 0.4
        assert len(nodes) == len(workflow["nodes"]) == workflow["last_node_id"]
        for link, origin, out_slot, target, in_slot, kind in workflow["links"]:
            output, socket = nodes[origin]["outputs"][out_slot], nodes[target]["inputs"][in_slot]
            assert link in output["links"]
            assert socket["link"] == link
            assert output["type"] == kind
            assert socket["type"] == "*" or kind in socket["type"].split(",")
        made = sum(len(socket["links"] or ()) for node in nodes.values() for socket in node["outputs"])
        assert made == len(workflow["links"]) <= workflow["last_link_id"]

    def test_origin_of_nodes(self, graphs, name):
        version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
        for node in graphs.workflow(name)["nodes"]:
            properties = node["properties"]
            if node["type"].startswith("SyncDiffusion"):
                assert (properties["cnr_id"], properties["ver"]) == ("syncdiffusion", version)
            elif node["type"] != "MarkdownNote":
                assert properties["cnr_id"] == "comfy-core"

    def test_checkpoints_can_be_fetched(self, graphs, name):
        for node in graphs.workflow(name)["nodes"]:
            if node["type"] == "CheckpointLoaderSimple":
                (model,) = node["properties"]["models"]
                assert model["name"] == node["widgets_values"][0]
                assert model["url"].startswith("https://huggingface.co/")
                assert model["url"].endswith(f"/resolve/main/{model['name']}")
                assert re.fullmatch(r"[0-9a-f]{64}", model["hash"])
                assert (model["hash_type"], model["directory"]) == ("SHA256", "checkpoints")

    def test_layout(self, graphs, name):
        """Nothing overlaps, links run to the right, groups hold whole nodes, a note says what to do."""
        workflow = graphs.workflow(name)
        nodes = {node["id"]: node for node in workflow["nodes"]}
        boxes = [_box(node) for node in nodes.values()]
        assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[k + 1 :] if _overlap(a, b)]
        assert all(nodes[origin]["pos"][0] <= nodes[target]["pos"][0] for _, origin, _, target, *_ in workflow["links"])
        groups = [(x, y, x + w, y + h) for x, y, w, h in (group["bounding"] for group in workflow["groups"])]
        assert not [(a, b) for k, a in enumerate(groups) for b in groups[k + 1 :] if _overlap(a, b)]
        loose = [node["type"] for node in nodes.values() if sum(_inside(_box(node), group) for group in groups) != 1]
        assert loose == ["MarkdownNote"]

    def test_thumbnail(self, name):
        path = ROOT / "workflows" / f"{name}.jpg"
        assert path.stat().st_size < 60_000
        with Image.open(path) as picture:
            assert picture.format == "JPEG"
            assert 400 <= picture.width <= 640


def _box(node: dict) -> tuple[float, float, float, float]:
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE_PX, x + width, y + height


def _overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _inside(a: tuple, b: tuple) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


@pytest.mark.parametrize("name", NAMES)
def test_prompt_fits_the_running_host(comfy_server, graphs, name):
    """Node by node: the class is there, every input is known, given and allowed, every link fits its socket."""
    known, graph = comfy_server.client.request("/object_info"), graphs.prompt(name)
    for node in graph.values():
        info = known[node["class_type"]]["input"]
        declared = {**info.get("required", {}), **info.get("optional", {})}
        assert set(info.get("required", {})) <= set(node["inputs"]) <= set(declared)
        for key, value in node["inputs"].items():
            spec = declared[key]
            if isinstance(value, list):
                made = known[graph[value[0]]["class_type"]]["output"][value[1]]
                assert spec[0] == "*" or made in spec[0].split(","), f"{node['class_type']}.{key}"
            elif (node["class_type"], key) not in ON_DISK:
                _assert_allowed(f"{node['class_type']}.{key}", spec, value)


def _assert_allowed(socket: str, spec: list, value: object) -> None:
    settings = spec[1] if len(spec) > 1 else {}
    options = spec[0] if isinstance(spec[0], list) else settings.get("options")
    if options is not None:
        assert value in options, socket
    elif spec[0] in ("INT", "FLOAT"):
        assert settings.get("min", value) <= value <= settings.get("max", value), socket


@pytest.fixture(scope="module")
def family(small):
    """family(name) -> a small random model of the checkpoint's family, and its VAE."""
    from comfy.model_base import ModelType

    def make(name: str):
        if "Flux" in name:
            return small.flux_model(), importlib.import_module("small_vaes").kl_vae_16()
        if "SDXL" in name:
            return small.sdxl_model(), small.small_vae()
        extra = {"use_linear_in_transformer": True} if "SD2.1" in name else {}
        return small.unet_model(ModelType.EPS, **extra), small.small_vae()

    return make


@pytest.mark.parametrize("name", [f"SyncDiffusion {name}" for name in STANDS_IN])
def test_runs_with_a_small_model_in_the_loaders_place(run_graph, graphs, small, family, perceptual, name):
    """All windows, the sampler and the guidance of the workflow; windows of 128 px, two steps."""
    graph = _small(graphs, graphs.prompt(name))
    for class_type, objects in (
        ("CheckpointLoaderSimple", ("model", "clip", "vae")),
        ("SyncDiffusionLoadPerceptualModel", ("perceptual",)),
    ):
        (node_id,) = graphs.of_class(graph, class_type)
        graph = graphs.without(graph, node_id, *objects)
    model, vae = family(name)
    run = run_graph(graph, model=model, clip=small.Clip(), vae=vae, perceptual=perceptual)
    canvas = _canvas(graphs, graph)
    (decode,) = graphs.of_class(graph, "SyncDiffusionPanoramaDecode")
    (sampler,) = graphs.of_class(graph, "SyncDiffusionPanoramaSampler")
    picture, size = run.outputs[decode][0], graph[canvas]["inputs"]
    assert tuple(picture.shape) == (1, size["height"], size["width"], 3)
    assert picture.isfinite().all()
    assert picture.std() > 0.01
    assert len(run.outputs[sampler][1].splitlines()) == 1, "one guided step"


def test_a_sphere_runs_with_a_small_model_in_the_loaders_place(run_graph, graphs, small, family):
    """All eighteen views, each with a prompt, its six sides and the way back; views of 64 px, two steps."""
    graph = _small_sphere(graphs, graphs.prompt("SyncDiffusion 360 panorama"))
    (loader,) = graphs.of_class(graph, "CheckpointLoaderSimple")
    model, vae = family("SD1.5")
    run = run_graph(graphs.without(graph, loader, "model", "clip", "vae"), model=model, clip=small.Clip(), vae=vae)
    shapes = {
        graph[node]["class_type"]: tuple(value.shape)
        for node, outputs in run.outputs.items()
        for value in outputs
        if hasattr(value, "shape") and value.ndim == 4 and value.shape[-1] == 3
    }
    assert shapes["SyncDiffusionViewSampler"] == shapes["SyncDiffusionViewsToEquirect"] == (1, 128, 256, 3)
    assert shapes["SyncDiffusionEquirectToViews"] == (6, 64, 64, 3)


@pytest.mark.parametrize(("name", "views"), [("360 SDXL", 18), ("360 Flux", 10)])
def test_spheres_of_other_families(run_graph, graphs, small, family, name, views):
    """All views of either, each with a prompt; they agree in latents, as the small VAE of 16 channels only decodes."""
    graph = _small_sphere(graphs, graphs.prompt(f"SyncDiffusion {name}"), agree_in="latents")
    (loader,) = graphs.of_class(graph, "CheckpointLoaderSimple")
    model, vae = family(name)
    run = run_graph(graphs.without(graph, loader, "model", "clip", "vae"), model=model, clip=small.Clip(), vae=vae)
    (sampler,) = graphs.of_class(graph, "SyncDiffusionViewSampler")
    latent, picture, _ = run.outputs[sampler]
    assert len(latent["samples"]) == views
    assert tuple(picture.shape) == (1, 128, 256, 3)
    assert picture.std() > 0.01


def test_a_sphere_from_depth_with_small_models_in_the_loaders_place(run_graph, graphs, small, family):
    """A distance all around takes the place of MoGe and its picture."""
    graph = _small_sphere(graphs, graphs.prompt("SyncDiffusion 360 from depth"))
    objects = {
        "CheckpointLoaderSimple": ("model", "clip", "vae"),
        "ControlNetLoader": ("control_net",),
        "LoadMoGeModel": ("unused",),
        "LoadImage": ("unused", "unused"),
        "MoGePanoramaInference": ("geometry",),
    }
    for class_type, names in objects.items():
        (node_id,) = graphs.of_class(graph, class_type)
        graph = graphs.without(graph, node_id, *names)
    model, vae = family("SD1.5")
    geometry = {"depth": torch.rand(1, 32, 64, generator=torch.manual_seed(1)) + 1}
    given = {"control_net": small.control_net("plain"), "geometry": geometry, "clip": small.Clip()}
    run = run_graph(graph, model=model, vae=vae, **given)
    (hints,) = graphs.of_class(graph, "SyncDiffusionPanoramaDepthHints")
    (sampler,) = graphs.of_class(graph, "SyncDiffusionViewSampler")
    assert tuple(run.outputs[hints][0].shape) == (18, 64, 64, 3)
    assert tuple(run.outputs[sampler][1].shape) == (1, 128, 256, 3)


def _small_sphere(graphs, graph: dict, **views: object) -> dict:
    """The graph with views of 64 px and two steps."""
    return graphs.with_inputs(
        graph,
        {
            "SyncDiffusionSphereViews": {"width": 256, "view_size": 64, **views},
            "SyncDiffusionViewSampler": {**graphs.FEW_STEPS, "steps": 2},
            "SyncDiffusionEquirectToViews": {"view_size": 64},
            "SyncDiffusionPanoramaDepthHints": {"view_size": 64},
            "SyncDiffusionViewsToEquirect": {"width": 256},
        },
    )


def _canvas(graphs, graph: dict) -> str:
    """The node that makes the canvas."""
    (canvas,) = graphs.of_class(graph, "EmptyLatentImage") + graphs.of_class(graph, "EmptySD3LatentImage")
    return canvas


def _small(graphs, graph: dict, window_px: int = 128) -> dict:
    """The graph with all its sizes scaled to windows of window_px, and two steps."""
    (tiler,) = graphs.of_class(graph, "SyncDiffusionWindowTiler")
    scale = graph[tiler]["inputs"]["window_width"] // window_px
    changes = {
        graph[node]["class_type"]: {name: graph[node]["inputs"][name] // scale for name in names}
        for node, names in ((tiler, SIZES), (_canvas(graphs, graph), ("width", "height")))
    }
    return graphs.with_inputs(graph, {**changes, SAMPLER: {**graphs.FEW_STEPS, "steps": 2}})


def test_a_download_stays_chosen_after_it_was_made(comfy_server, graphs):
    """A workflow with a download chosen is queued again once the file is there: its choice must still be valid."""
    (loader,) = graphs.of_class(graphs.prompt("SyncDiffusion SD1.5 panorama"), "SyncDiffusionLoadPerceptualModel")
    choice = graphs.prompt("SyncDiffusion SD1.5 panorama")[loader]["inputs"]["perceptual_name"]
    made = comfy_server.output.parent / "models" / "perceptual" / "lpips_vgg.safetensors"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_bytes(b"")
    try:
        info = comfy_server.client.request("/object_info/SyncDiffusionLoadPerceptualModel")
    finally:
        made.unlink()
    options = info["SyncDiffusionLoadPerceptualModel"]["input"]["required"]["perceptual_name"][1]["options"]
    assert made.name in options
    assert choice in options


def test_demo_workflow_is_the_demo_commands_graph(graphs):
    """The one command of the README and the first template run the same settings."""
    command = json.loads((ROOT / "scripts" / "demo_graph.json").read_text(encoding="utf-8"))
    template = graphs.prompt("SyncDiffusion demo")
    for class_type in ("SyncDiffusionGuidance", "SyncDiffusionWindowTiler", "EmptyLatentImage", "CLIPTextEncode"):
        assert _widgets(graphs, template, class_type) == _widgets(graphs, command, class_type)
    ignored = {"seed"}  # one node for both in the template
    samplers = [_widgets(graphs, graph, "SyncDiffusionPanoramaSampler", ignored) for graph in (template, command)]
    assert samplers[0] == samplers[1]


def _widgets(graphs, graph: dict, class_type: str, ignored: set[str] = frozenset()) -> list[dict]:
    return [
        {key: value for key, value in graph[k]["inputs"].items() if key not in ignored and not isinstance(value, list)}
        for k in graphs.of_class(graph, class_type)
    ]
