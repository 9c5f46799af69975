"""Prompts that nobody's interface sends, over HTTP: each is answered, and the server paints on as before.

Made from a fixed seed. Most are refused before they run; what runs ends in an error of its node's in the history.
"""

import copy
import json
import random
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image

CHANGES = 240
RUN = 30
"""Prompts that may wait in the queue at once: the good one stands behind them."""
BAD_VALUES = (
    None,
    True,
    -1,
    0,
    10**30,
    -(2**63),
    1e308,
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    "0",
    "nan",
    "../../../../etc/passwd",
    "..\\..\\secrets",
    "/etc/passwd",
    "a" * 100_000,
    "\u0000",
    "\u202e\U0001f3de\ufe0f\u0301",
    "{{7*7}}",
    [],
    {},
    [None],
    ["model", 99],
    ["nowhere", 0],
    ["model"],
    ["model", "0"],
    [["model", 0], 0],
    {"__value__": [1, 2]},
    {"__type__": "LATENT"},
)
NAMED = ("../kept", "..", "/tmp/kept", "a/b", "kept\u0000", "C:\\kept", "kept" * 200, ".hidden", "con")


def changed(graph: dict, rng: random.Random) -> dict:
    """The graph with one or two of its nodes spoilt; they are asked for by the good part, or not."""
    graph = copy.deepcopy(graph)
    for _ in range(rng.randint(1, 2)):
        node_id = rng.choice(
            [key for key, node in graph.items() if str(node["class_type"]).startswith("SyncDiffusion")]
        )
        inputs = graph[node_id]["inputs"]
        what = rng.choice(("value", "value", "value", "missing", "unknown", "cycle", "class", "inputs"))
        name = rng.choice(sorted(inputs) or ["nothing"])
        if what == "value":
            inputs[name] = copy.deepcopy(rng.choice(BAD_VALUES))
        elif what == "missing":
            inputs.pop(name, None)
        elif what == "unknown":
            inputs["\u00e9\u2028" * rng.randint(1, 9)] = rng.choice(BAD_VALUES)
        elif what == "cycle":
            inputs[name] = [node_id, 0]
        elif what == "class":
            graph[node_id]["class_type"] = rng.choice(("SyncDiffusion", "../SyncDiffusionSampler", "", 7))
        else:
            graph[node_id]["inputs"] = rng.choice(({}, {"model": "x"}))
    return graph


def named(kind: str, name: str) -> dict:
    """A prompt that asks for a file by a name: a spectrum, or a perceptual network."""
    spectrum = {"class_type": "SyncDiffusionLatentSpectrum", "inputs": {"name": name, "window_size": 64}}
    network = {"class_type": "SyncDiffusionLoadPerceptualModel", "inputs": {"perceptual_name": name}}
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
    return {"1": spectrum if kind == "spectrum" else network, "2": shown}


def keeps(name: str) -> dict:
    """A prompt that measures a spectrum of plain pictures and keeps it under a name."""
    return {
        "model": {"class_type": "SyncDiffusionLoadDemoModel", "inputs": {}},
        "images": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
        "1": {
            "class_type": "SyncDiffusionLatentSpectrum",
            "inputs": {
                "name": name,
                "window_size": 64,
                "images": ["images", 0],
                "model": ["model", 0],
                "vae": ["model", 2],
            },
        },
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }


def post(server, graph: dict) -> tuple[int, dict]:
    """(status, answer) of a prompt; NaN and Infinity are sent as Python writes them, which some clients do too."""
    data = json.dumps({"prompt": graph}).encode()
    request = urllib.request.Request(server.url + "/prompt", data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def wait_until_idle(server) -> None:
    deadline = time.monotonic() + 240
    while any(server.client.request("/queue").values()):
        assert time.monotonic() < deadline, "the queue does not empty"
        time.sleep(0.1)


def picture(server, graph: dict, seed: int) -> list[bytes]:
    """Pixels that the good prompt paints; the seed names the files, so that the server does not answer from a cache."""
    graph = copy.deepcopy(graph)
    for node in graph.values():
        if node["class_type"] == "SaveImage":
            node["inputs"]["filename_prefix"] = f"hostile_{seed}"
    outputs, _ = server.run(graph)
    saved = [image for each in outputs.values() for image in each.get("images", ()) if image["type"] == "output"]
    paths = [server.output / image["subfolder"] / image["filename"] for image in saved]
    return [Image.open(path).convert("RGB").tobytes() for path in paths]


def files(server) -> set:
    """Below the server's base, and in the folder that holds it, for what climbs out."""
    base = server.output.parent
    inside = {path for path in base.rglob("*") if path.is_file() and "custom_nodes" not in path.parts}
    return {path for path in inside if not {"output", "temp", "user"} & {*path.relative_to(base).parts}}


@pytest.fixture(scope="module")
def good(graphs):
    """The demo in two steps without a guided one, which is quick; its sampler is asked again each time."""
    small = graphs.small_demo(steps=2)
    return graphs.with_inputs(small, {"SyncDiffusionGuidance": {"weight": 0.0}})


def test_hostile_prompts_are_answered_and_change_nothing(comfy_server, good):
    first, known = picture(comfy_server, good, 0), files(comfy_server)
    rng, queued, refused = random.Random(13), 0, 0
    hostile = [changed(good, rng) for _ in range(CHANGES)]
    hostile += [named(kind, name) for kind in ("spectrum", "network") for name in NAMED]
    hostile += [keeps(name) for name in NAMED]
    for graph in hostile:
        status, answer = post(comfy_server, graph)
        if status == 200 and queued >= RUN:
            comfy_server.client.request("/queue", {"delete": [answer["prompt_id"]]})
        queued, refused = queued + (status == 200), refused + (status == 400)
        assert status in (200, 400), (status, answer, json.dumps(graph)[:2000])
        if status == 400:
            assert answer["error"]["message"]
    comfy_server.client.request("/interrupt", {})
    wait_until_idle(comfy_server)
    assert queued
    assert refused > 20
    comfy_server.client.request("/free", {"unload_models": True, "free_memory": True})
    assert picture(comfy_server, good, 1) == first
    assert files(comfy_server) - known == set(), "a file was written"
