"""The graph of scripts/demo.py against the host's nodes as they are."""

import json
from pathlib import Path

GRAPH = Path(__file__).parents[2] / "scripts" / "demo_graph.json"


def test_the_host_takes_the_whole_demo_graph(host, pack):
    graph = json.loads(GRAPH.read_text(encoding="utf-8"))
    assert {"multidiffusion_picture", "syncdiffusion_picture", "syncdiffusion_trace"} <= set(host.validate(graph))
