"""The HTTP side of a running ComfyUI: queue an API-format graph, follow it, read what it made.

Needs what ComfyUI requires, so it is imported once there is an environment.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp
import requests
from _progress import StepFailed
from _server import Server

PATIENCE = 600.0  # seconds for one answer; a busy machine is slow to give it
Graph = dict[str, dict[str, Any]]


class GraphError(StepFailed):
    """The host refused the graph or failed in one of its nodes; the message names node and reason."""


class Client:
    """A user of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._id = uuid.uuid4().hex
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy of the environment cannot reach this machine

    def ask(self, path: str, **request: Any) -> requests.Response:
        """The answer to a GET of path, to a POST where something is given to send; raises requests.HTTPError."""
        method = "POST" if {"json", "files"} & request.keys() else "GET"
        answer = self._http.request(method, self._server.url + path, timeout=PATIENCE, **request)
        answer.raise_for_status()
        return answer

    def request(self, path: str, payload: object = None) -> Any:
        """The JSON answer to a GET of path, to a POST where a payload is given."""
        answer = self.ask(path) if payload is None else self.ask(path, json=payload)
        return answer.json() if answer.content else None

    def missing_nodes(self, graph: Graph) -> list[str]:
        """Node ids of the graph that this server does not have."""
        known = self.request("/object_info")
        return sorted({node["class_type"] for node in graph.values()} - set(known))

    def run(self, graph: Graph, on_event: Callable[[str, dict], None] = lambda kind, data: None) -> dict:
        """Queues the graph and waits for its end; its `outputs` by node id.

        on_event sees each of the host's messages on this run. Raises GraphError when the graph is refused
        or a node fails, StepFailed when the server dies.
        """
        try:
            prompt_id = asyncio.run(self._follow(graph, on_event))
            history = self.request(f"/history/{prompt_id}")[prompt_id]
        except (OSError, aiohttp.ClientError) as error:
            raise self._server.lost() from error
        self._raise_failure(history["status"], graph)
        return history["outputs"]

    async def _follow(self, graph: Graph, on_event: Callable[[str, dict], None]) -> str:
        """Queues the graph and hands on the host's messages on it until it has ended; its id."""
        address = f"{self._server.url}/ws?clientId={self._id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            prompt_id = self._queue(graph)
            async for message in socket:
                event = message.json() if message.type is aiohttp.WSMsgType.TEXT else {"data": {}}
                if event["data"].get("prompt_id") == prompt_id:
                    on_event(event["type"], event["data"])
                    if event["type"] == "executing" and event["data"]["node"] is None:  # the history has it by now
                        return prompt_id
        raise ConnectionError("the server closed the connection")

    def _queue(self, graph: Graph) -> str:
        try:
            return self.request("/prompt", {"prompt": graph, "client_id": self._id})["prompt_id"]
        except requests.HTTPError as error:
            raise GraphError(_refusal(error.response.json(), graph)) from error

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
