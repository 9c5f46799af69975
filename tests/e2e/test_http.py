"""The demo's graph over the HTTP API of a real server: what it makes, repeats, stops and refuses."""

import io
import json
import time

import pytest
import requests
from PIL import Image

SAMPLER = "SyncDiffusionPanoramaSampler"


def pictures(comfy_server, outputs: dict) -> list[bytes]:
    """Pixels of everything that the SaveImage nodes wrote, in the order of the graph."""
    saved = [
        comfy_server.output / image["subfolder"] / image["filename"]
        for output in outputs.values()
        for image in output.get("images", ())
        if image["type"] == "output"
    ]
    return [Image.open(io.BytesIO(path.read_bytes())).convert("RGB").tobytes() for path in sorted(saved)]


def refusal(comfy_server, graph: dict) -> dict:
    """The execution_error in the history of a graph that a node refuses."""
    client = comfy_server.client
    prompt_id = client.request("/prompt", {"prompt": graph})["prompt_id"]
    deadline = time.monotonic() + 240
    while not (history := client.request(f"/history/{prompt_id}")):
        assert time.monotonic() < deadline, "the run does not end"
        time.sleep(0.1)
    errors = [data for kind, data in history[prompt_id]["status"]["messages"] if kind == "execution_error"]
    assert len(errors) == 1, history[prompt_id]["status"]
    return errors[0]


def told_before(client, graph: dict) -> str:
    """What the server says of a graph's inputs when it is queued."""
    try:
        answer = client.request("/prompt", {"prompt": graph})
    except requests.HTTPError as error:
        answer = error.response.json()
    client.request("/interrupt", {})
    return json.dumps(answer["node_errors"])


def test_demo_runs(comfy_server, graphs):
    graph = graphs.small_demo()
    outputs, events = comfy_server.run(graph)
    assert len(pictures(comfy_server, outputs)) == 2
    reports = [outputs[node_id]["text"][0] for node_id in graphs.of_class(graph, "SyncDiffusionCoherence")]
    assert all("intra distance 0." in report and "over 2 windows" in report for report in reports)
    (trace,) = (outputs[node_id]["text"][0] for node_id in graphs.of_class(graph, "PreviewAny"))
    assert len(trace.splitlines()) == 1, "one of four steps is guided"
    steps = {(data["node"], data["max"]) for kind, data in events if kind == "progress"}
    assert {(node_id, 4) for node_id in graphs.of_class(graph, SAMPLER)} <= steps


def test_guidance_changes_the_picture_and_nothing_else_does(comfy_server, graphs):
    first, second = pictures(comfy_server, comfy_server.run(graphs.small_demo())[0])
    assert first != second
    unguided = graphs.with_inputs(graphs.small_demo(), {"SyncDiffusionGuidance": {"weight": 0.0}})
    one, other = pictures(comfy_server, comfy_server.run(unguided)[0])
    assert one == other


def test_a_seed_repeats(comfy_server, graphs):
    graph = graphs.small_demo(seed=5)
    first, _ = comfy_server.run(graph)
    others, _ = comfy_server.run(graphs.small_demo(seed=6))
    comfy_server.client.request("/free", {"unload_models": True, "free_memory": True})
    again, events = comfy_server.run(graph)
    ran = {data["node"] for kind, data in events if kind == "executing"}
    assert set(graphs.of_class(graph, SAMPLER)) <= ran, "the cache answered"
    assert pictures(comfy_server, first) == pictures(comfy_server, again)
    assert pictures(comfy_server, first) != pictures(comfy_server, others)


class Interrupt:
    """Asks the server to stop in the middle of a guided step, and keeps the times."""

    def __init__(self, client, node_id: str, step: int) -> None:
        self._client, self._node_id, self._step = client, node_id, step
        self.done: dict[int, float] = {}  # step -> when it was done
        self.asked = self.stopped = None

    def __call__(self, kind: str, data: dict) -> None:
        now = time.monotonic()
        if kind == "progress" and data["node"] == self._node_id:
            self.done[data["value"]] = now
            if data["value"] == self._step:
                time.sleep(0.3)  # well inside the next step
                self._client.request("/interrupt", {})
                self.asked = time.monotonic()
        elif kind == "execution_interrupted":
            self.stopped = now


def test_an_interrupt_ends_a_guided_run_within_a_window_batch(comfy_server, graphs):
    graph = graphs.with_inputs(
        graphs.small_demo(steps=30, windows_per_batch=1),
        {"EmptyLatentImage": {"width": 1536}, "SyncDiffusionGuidance": {"end_percent": 1.0}},
    )
    guided = next(k for k in graphs.of_class(graph, SAMPLER) if "guidance" in graph[k]["inputs"])
    graph = _only(graph, guided)
    watch = Interrupt(comfy_server.client, guided, step=2)
    with pytest.raises(RuntimeError, match="interrupted"):
        comfy_server.client.run(graph, watch)
    a_step = watch.done[2] - watch.done[1]
    assert watch.stopped - watch.asked < max(0.2 * a_step, 0.5), f"a step of 23 windows takes {a_step:.1f} s"
    outputs, _ = comfy_server.run(graphs.small_demo(seed=9))
    assert len(pictures(comfy_server, outputs)) == 2


def _only(graph: dict, sampler: str) -> dict:
    """The sampler and what it needs, its latent decoded and previewed."""
    kept, wanted = {}, [sampler]
    while wanted:
        node_id = wanted.pop()
        kept[node_id] = graph[node_id]
        wanted += [value[0] for value in graph[node_id]["inputs"].values() if isinstance(value, list)]
    (vae,) = (k for k in kept if kept[k]["class_type"] == "SyncDiffusionLoadDemoModel")
    decode = {"samples": [sampler, 0], "vae": [vae, 2], "wrap_x": False, "wrap_y": False, "wrap_margin": 128}
    kept["decode"] = {"class_type": "SyncDiffusionPanoramaDecode", "inputs": {**decode, "tile_size": 1024}}
    kept["preview"] = {"class_type": "PreviewImage", "inputs": {"images": ["decode", 0]}}
    return kept


@pytest.mark.parametrize(
    ("class_type", "inputs", "words"),
    [
        ("SyncDiffusionWindowTiler", {"window_width": 512, "stride_x": 64}, ["window", "512", "256", "at most"]),
        (
            "SyncDiffusionGuidance",
            {"anchor": "window by index", "anchor_index": 40},
            ["anchor_index", "40", "between 0 and"],
        ),
        (SAMPLER, {"sampler_name": "uni_pc"}, ["sampler", "uni_pc", "choose"]),
    ],
)
def test_bad_input_is_explained_in_the_history(comfy_server, graphs, class_type, inputs, words):
    """Socket, rule, value and remedy, at the node that refuses."""
    error = refusal(comfy_server, graphs.with_inputs(graphs.small_demo(), {class_type: inputs}))
    message = error["exception_message"]
    assert error["exception_type"] == "ValueError"
    assert error["node_type"].startswith("SyncDiffusion")
    assert not [word for word in words if word not in message], message


@pytest.mark.parametrize(
    ("class_type", "inputs", "said"),
    [
        ("SyncDiffusionWindowTiler", {"stride_x": 0}, "stride_x"),
        ("SyncDiffusionWindowTiler", {"stride_x": 136}, "128 px, got 136"),
        ("SyncDiffusionGuidance", {"anchor": "reference image"}, "connect one to anchor_image"),
        ("SyncDiffusionGuidance", {"start_percent": 0.5}, "in that order, got 0.5 and 0.2"),
        (SAMPLER, {"sampler_name": "lms", "algorithm": "reference (Algorithm 1)"}, "euler and ddim only"),
    ],
)
def test_what_the_widgets_tell_is_refused_before_the_queue(comfy_server, graphs, class_type, inputs, said):
    """Outputs that do not need the node that is told so still run, as the host has it."""
    graph = graphs.with_inputs(graphs.small_demo(), {class_type: inputs})
    assert said in told_before(comfy_server.client, graph)
