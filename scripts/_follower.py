"""What a person sees of a graph that runs, and the seconds that its nodes take."""

from __future__ import annotations

import time
from typing import Any

from _client import Graph, title_of
from tqdm import tqdm


class Follower:
    """Shows the host's progress and keeps the seconds that each node took."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._bar = graph, None
        self.seconds: dict[str, float] = {}
        self._node, self._since = None, time.monotonic()

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        """Takes one message of the host."""
        if kind == "progress" and data.get("node") in self._graph:
            if self._bar is None:
                title = title_of(self._graph[data["node"]])
                self._bar = tqdm(desc=f"    {title}", total=data["max"], unit="step", ascii=True)
            self._bar.update(data["value"] - self._bar.n)
        elif kind == "executing":
            now = time.monotonic()
            if self._node:
                self.seconds[self._node] = now - self._since
            self._node, self._since = data.get("node"), now
            if self._bar is not None:
                self._bar = self._bar.close()
