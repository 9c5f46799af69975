"""The real ComfyUI inside the test process: its nodes, its executor, and a server that records messages."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

Graph = dict[str, dict[str, Any]]
VALUE_NODE = "TestValue"  # what stands for an object that a test hands to a graph


class GraphFailed(Exception):
    """A graph was refused or a node raised; `errors` holds the host's own words by node id."""

    def __init__(self, message: str, errors: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.errors = errors


@dataclass
class GraphRun:
    """What one run left: outputs by node id (one value per socket), the ui dicts, the server's messages."""

    outputs: dict[str, tuple[Any, ...]]
    ui: dict[str, dict[str, Any]]
    events: list[tuple[str, Any]]


@dataclass(repr=False, eq=False)
class Harness:
    """A loaded host; `nodes` is its own nodes module, `version` its version."""

    folder: Path
    version: str
    nodes: ModuleType
    server: Any
    base: Path
    _objects: dict[str, Any] = field(default_factory=dict)

    @property
    def mappings(self) -> dict[str, type]:
        """All node classes by id."""
        return self.nodes.NODE_CLASS_MAPPINGS

    def run_node(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        """Outputs of one node, run as the executor runs it: V3 class clone, hidden inputs, inference mode.

        Inputs that are not given take the defaults that the interface would send.
        """
        import execution
        import torch
        from comfy_execution.graph import DynamicPrompt

        cls = self.mappings[node_id]
        values = {**_defaults(cls), **inputs}
        dynprompt = DynamicPrompt({"1": {"class_type": node_id, "inputs": {}}})
        listed, _, v3_data = execution.get_input_data(values, cls, "1", None, dynprompt, {})
        if unknown := set(inputs) - set(listed):
            raise TypeError(f"{node_id} has no input {sorted(unknown)}; it has {sorted(listed)}")
        self.server.events.clear()
        self.server.last_prompt_id, self.server.last_node_id = "test", "1"
        with torch.inference_mode():
            call = execution.get_output_data("test", "1", cls(), listed, v3_data=v3_data)
            output, _ui, _subgraph, _pending = asyncio.run(call)
        return tuple(_single(value) for value in output)

    def executor(self) -> Any:
        """A fresh PromptExecutor (classic cache); given to several run_graph calls it keeps its cache."""
        import execution

        limits = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
        return execution.PromptExecutor(self.server, execution.CacheType.CLASSIC, limits)

    def validate(self, graph: Graph) -> list[str]:
        """The output nodes that the host would run; raises GraphFailed when it refuses any part of the graph."""
        import execution

        valid, error, wanted, node_errors = asyncio.run(execution.validate_prompt("test", graph, None))
        if not valid or node_errors:
            raise GraphFailed(f"refused: {error or node_errors}", node_errors)
        return wanted

    def run_graph(self, graph: Graph, executor: Any = None, **objects: Any) -> GraphRun:
        """Validates and executes an API-format graph with the host's own code, in this process.

        Each of objects is a node of its own: a link ["model", 0] takes the object given as model=.
        Raises GraphFailed when the graph is refused or a node raises.
        """
        graph = {**graph, **self._value_nodes(objects)}
        executor = executor or self.executor()
        prompt_id = uuid.uuid4().hex
        self.server.events.clear()
        executor.execute(graph, prompt_id, {"client_id": "test"}, self.validate(graph))
        for kind, data in executor.status_messages:
            if kind in ("execution_error", "execution_interrupted"):
                raise GraphFailed(data.get("exception_message", kind), {data["node_id"]: data})
        return asyncio.run(self._collect(executor, graph))

    async def _collect(self, executor: Any, graph: Graph) -> GraphRun:
        outputs = {}
        for node_id in graph:
            entry = await executor.caches.outputs.get(node_id)
            if entry is not None and entry.outputs is not None:
                outputs[node_id] = tuple(_single(value) for value in entry.outputs)
        return GraphRun(outputs, dict(executor.history_result["outputs"]), list(self.server.events))

    def _value_nodes(self, objects: Mapping[str, Any]) -> Graph:
        self._objects = dict(objects)
        self.mappings.setdefault(VALUE_NODE, _value_node(self))
        return {name: {"class_type": VALUE_NODE, "inputs": {"name": name}} for name in objects}


def _value_node(harness: Harness) -> type:
    class TestValue:
        RETURN_TYPES = ("*",)
        FUNCTION = "value"
        CATEGORY = "test"

        @classmethod
        def INPUT_TYPES(cls) -> dict:
            return {"required": {"name": ("STRING", {})}}

        @classmethod
        def IS_CHANGED(cls, name: str) -> int:
            return id(harness._objects[name])

        def value(self, name: str) -> tuple:
            return (harness._objects[name],)

    return TestValue


def _single(values: list) -> Any:
    """The value of a socket; the list where the node gave several."""
    return values[0] if len(values) == 1 else values


def _defaults(cls: type) -> dict[str, Any]:
    """What the interface sends for the widgets that nobody touched."""
    defaults = {}
    declared = cls.INPUT_TYPES()
    for name, spec in {**declared.get("required", {}), **declared.get("optional", {})}.items():
        kind, info = spec[0], spec[1] if len(spec) > 1 else {}
        if info.get("forceInput"):
            continue
        if "default" in info:
            defaults[name] = info["default"]
        elif isinstance(kind, list) or kind == "COMBO":
            options = kind if isinstance(kind, list) else info.get("options", [])
            defaults.update({name: options[0]} if options else {})
    return defaults


def load_host(folder: Path, version: str, base: Path, use_gpu: bool) -> Harness:
    """Imports the host whose folder stands first on sys.path; everything it writes goes below base."""
    sys.dont_write_bytecode = True  # a found installation stays as it is
    from comfy.cli_args import args  # before anything imports comfy.model_management or folder_paths

    args.cpu = not use_gpu
    args.base_directory = str(base)
    args.database_url = "sqlite:///:memory:"
    args.disable_api_nodes = True
    args.disable_all_custom_nodes = True
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    import nodes

    assert Path(nodes.__file__).resolve().parent == folder, f"nodes is {nodes.__file__}, not the host's: {sys.path}"
    server = _recording_server()
    asyncio.run(nodes.init_builtin_extra_nodes())
    return Harness(folder, version, nodes, server, base)


def _recording_server() -> Any:
    import server

    class RecordingServer(server.PromptServer):
        """The host's server object; keeps its messages instead of sending them."""

        def __init__(self) -> None:
            super().__init__(asyncio.new_event_loop())
            self.events: list[tuple[str, Any]] = []

        def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:
            self.events.append((event, data))

    return RecordingServer()
