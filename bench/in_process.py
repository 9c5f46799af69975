"""A ComfyUI inside this process: its nodes and its executor, without its server."""

from __future__ import annotations

import asyncio
import re
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from bench.graphs import PICTURE, Graph
from bench.meter import DECODER, LIGHT, MODEL
from bench.surface import Declared

PACK_ROOT = Path(__file__).resolve().parents[1]
ESTIMATE = re.compile(r"([\d,]+) MB beside the models' weights")
"""What the pack's samplers say of their memory, in MiB."""
LIGHT_CLASS = "LightDecoder"
"""Of the pack's own light decoder."""
OnNode = Callable[[str], None]
"""Called with the id of each node of a graph as it starts; those that the host has kept from the run before do not."""


class InProcess:
    """A Runner. One a process: the host is a set of modules."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        """folder: the ComfyUI checkout, whose model folders are used. scratch: for its temporary and input files."""
        self._scratch = scratch
        sys.dont_write_bytecode = True  # a found installation stays as it is
        sys.path.insert(0, str(folder))  # before this pack, whose `nodes` would hide the host's
        _choose_device(scratch)
        import nodes

        if Path(nodes.__file__).resolve().parent != folder.resolve():
            raise RuntimeError(f"'nodes' is {nodes.__file__}, not that of {folder}: import nothing before the host")
        self._redirect(folder)
        self._server = _silent_server()
        asyncio.run(nodes.init_builtin_extra_nodes())
        if not asyncio.run(nodes.load_custom_node(str(PACK_ROOT))):
            raise RuntimeError("the pack does not load in this ComfyUI; its log says why")
        self._executor = self._make_executor()

    def _redirect(self, folder: Path) -> None:
        import folder_paths
        from utils.extra_config import load_extra_path_config

        for name in ("temp", "input"):
            (self._scratch / name).mkdir()
        folder_paths.set_temp_directory(str(self._scratch / "temp"))
        folder_paths.set_input_directory(str(self._scratch / "input"))
        if (extra := folder / "extra_model_paths.yaml").is_file():
            load_extra_path_config(str(extra))

    def _make_executor(self):
        import execution

        return execution.PromptExecutor(
            self._server, execution.CacheType.CLASSIC, {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
        )

    @property
    def server(self) -> object:
        """The host's server object, which an executor wants."""
        return self._server

    def load_pack(self, folder: Path) -> None:
        """Load another pack of nodes; it stays for as long as the process."""
        import nodes

        if not asyncio.run(nodes.load_custom_node(str(folder.resolve()))):
            raise RuntimeError(f"{folder} does not load in this ComfyUI; its log says why")

    def declared(self, class_type: str) -> Declared | None:
        """Inputs of a node, None where there is no such node."""
        import nodes

        cls = nodes.NODE_CLASS_MAPPINGS.get(class_type)
        return None if cls is None else cls.INPUT_TYPES()

    def kind_of(self, module: object) -> str | None:
        """What the passes through a module count as, by its place in what the host has loaded; None for nothing."""
        import comfy.model_management

        if type(module).__name__ == LIGHT_CLASS:
            return LIGHT
        loaded = [entry.model.model for entry in comfy.model_management.current_loaded_models if entry.model]
        places = {"diffusion_model": MODEL, "decoder": DECODER, "taesd_decoder": LIGHT}
        of = (kind for name, kind in places.items() for model in loaded if getattr(model, name, None) is module)
        return next(of, None)

    def run(self, graph: Graph, on_node: OnNode | None = None) -> bytes:
        """The PNG file of the graph's picture. Raises RuntimeError with the host's words when it fails."""
        import folder_paths

        image = self.execute(graph, on_node)[PICTURE]["images"][0]
        path = Path(folder_paths.get_temp_directory()) / image["subfolder"] / image["filename"]
        data = path.read_bytes()
        path.unlink()
        return data

    def execute(self, graph: Graph, on_node: OnNode | None = None) -> dict[str, dict]:
        """What the graph's output nodes show, by node. Raises RuntimeError with the host's words when it fails."""
        import execution

        self._server.texts.clear()
        valid, error, wanted, node_errors = asyncio.run(execution.validate_prompt("bench", graph, None))
        if not valid or node_errors:
            raise RuntimeError(f"ComfyUI refuses the graph: {error or node_errors}")
        self._server.on_node = on_node
        client = {} if on_node is None else {"client_id": "bench"}  # the host tells of its nodes where one listens
        self._executor.execute(graph, uuid.uuid4().hex, {"extra_pnginfo": {}, **client}, wanted)
        for kind, data in self._executor.status_messages:
            if kind in ("execution_error", "execution_interrupted"):
                raise RuntimeError(f"{data.get('node_type')}: {data.get('exception_message', 'interrupted').strip()}")
        return self._executor.history_result["outputs"]

    def estimated_bytes(self) -> int | None:
        """The memory beside the weights that the last run told its user it would take, None where it said nothing."""
        told = [found for text in self._server.texts if (found := ESTIMATE.search(text))]
        return int(told[-1][1].replace(",", "")) * 2**20 if told else None

    def forget(self) -> None:
        """Drop what was kept of the runs so far, models among it."""
        self._executor.reset()

    @property
    def said(self) -> tuple[str, ...]:
        """What nodes told their user in the last run, in order."""
        return tuple(self._server.texts)

    def upload(self, name: str, data: bytes) -> None:
        """Put a file into the host's input folder."""
        (self._scratch / "input" / name).write_bytes(data)


def _choose_device(scratch: Path) -> None:
    """Before anything of the host asks for it: the processor where torch sees nothing better; and no browser's part."""
    import torch
    from comfy.cli_args import args

    args.cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    args.database_url = "sqlite:///:memory:"
    args.disable_api_nodes = True
    args.front_end_root = str(scratch)  # which nobody asks for: its package is 100 MB


def _silent_server():
    import server

    class SilentServer(server.PromptServer):
        """The host's server object, which nodes ask for; texts under nodes are kept, starts of nodes handed on."""

        def __init__(self, loop) -> None:
            super().__init__(loop)
            self.texts: list[str] = []
            self.on_node: OnNode | None = None

        def send_progress_text(self, text, node_id, sid=None) -> None:
            self.texts.append(str(text))

        def send_sync(self, event, data, sid=None) -> None:
            if event == "executing" and self.on_node is not None and data["node"] is not None:
                self.on_node(data["node"])

    return SilentServer(asyncio.new_event_loop())
