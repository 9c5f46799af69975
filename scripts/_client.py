"""The HTTP side of a running ComfyUI: queue an API-format graph, follow it, read what it made."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from _server import LOCAL, Server
from _websocket import WebSocket

PATIENCE = 600.0  # seconds for one answer; a busy machine is slow to give it
Graph = dict[str, dict[str, Any]]
Event = tuple[str, dict[str, Any]]  # (type, data) of a message of the host


class GraphError(RuntimeError):
    """The host refused the graph or failed in one of its nodes; the message names node and reason."""


class Client:
    """A user of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._id = uuid.uuid4().hex

    def request(self, path: str, payload: object = None) -> Any:
        """The JSON answer to a GET of path, to a POST where a payload is given."""
        data = None if payload is None else json.dumps(payload).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._server.url + path, data, headers)
        with LOCAL.open(request, timeout=PATIENCE) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def missing_nodes(self, graph: Graph) -> list[str]:
        """Node ids of the graph that this server does not have."""
        known = self.request("/object_info")
        return sorted({node["class_type"] for node in graph.values()} - set(known))

    def run(self, graph: Graph, on_event: Callable[[str, dict], None] = lambda kind, data: None) -> dict:
        """Queues the graph and waits for its end; its `outputs` by node id.

        on_event sees each of the host's messages on this run. Raises GraphError when the graph is refused
        or a node fails, StepFailed when the server dies.
        """
        address = f"{self._server.url}/ws?clientId={self._id}"
        try:
            with WebSocket(address) as socket:
                prompt_id = self._queue(graph)
                for kind, data in self._events(socket, prompt_id):
                    on_event(kind, data)
            history = self.request(f"/history/{prompt_id}")[prompt_id]
        except OSError as error:
            raise self._server.lost() from error
        self._raise_failure(history["status"], graph)
        return history["outputs"]

    def _queue(self, graph: Graph) -> str:
        try:
            return self.request("/prompt", {"prompt": graph, "client_id": self._id})["prompt_id"]
        except urllib.error.HTTPError as error:
            raise GraphError(_refusal(json.loads(error.read()), graph)) from error

    def _events(self, socket: WebSocket, prompt_id: str) -> Iterator[Event]:
        """The host's messages on one run, until the run has ended and stands in the history."""
        for message in socket.messages():
            if isinstance(message, str):
                event = json.loads(message)
                if event["data"].get("prompt_id") == prompt_id:
                    yield event["type"], event["data"]
            elif message is None and self.request(f"/history/{prompt_id}"):  # idle, and the run is over
                return
        raise ConnectionError("the server closed the connection")

    @staticmethod
    def _raise_failure(status: dict, graph: Graph) -> None:
        for kind, data in status["messages"]:
            if kind in ("execution_error", "execution_interrupted"):
                node = graph.get(data["node_id"], {})
                reason = data.get("exception_message", "interrupted").strip()
                raise GraphError(f"{title_of(node)} (node {data['node_id']}): {reason}")


def title_of(node: dict[str, Any]) -> str:
    """What a person calls a node of an API-format graph."""
    return node.get("_meta", {}).get("title") or node.get("class_type", "?")


def _refusal(answer: dict, graph: Graph) -> str:
    lines = [f"ComfyUI refuses the graph: {answer['error']['message']}"]
    for node_id, found in (answer.get("node_errors") or {}).items():
        for error in found["errors"]:
            lines.append(f"  {title_of(graph[node_id])}: {error['message']} ({error['details']})")
    return "\n".join(lines)
