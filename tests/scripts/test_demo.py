"""The demo's graph and what reads the host's answers. No host."""

import importlib
import importlib.util

import pytest

environment = importlib.import_module("_environment")


@pytest.fixture(scope="module")
def demo():
    path = environment.PACK_ROOT / "scripts" / "demo.py"
    spec = importlib.util.spec_from_file_location("syncdiffusion_demo_command", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_of_the_graph_lead_to_its_nodes(demo):
    graph = demo.build_graph("forest", 7, 3)
    for node in graph.values():
        links = [value for value in node["inputs"].values() if isinstance(value, list)]
        assert all(link[0] in graph and isinstance(link[1], int) for link in links)
        assert node["_meta"]["title"]


def test_settings_reach_both_methods(demo):
    graph = demo.build_graph("forest", 7, 3)
    assert graph["prompt"]["inputs"]["text"] == "forest"
    settings = [dict(graph[method]["inputs"]) for method in demo.METHODS]
    assert all((inputs["seed"], inputs["steps"]) == (7, 3) for inputs in settings)
    assert settings[1].pop("guidance") == ["guidance", 0]
    assert settings[0] == settings[1]


def test_follower_keeps_seconds_by_node(demo):
    follower = importlib.import_module("_follower").Follower(demo.build_graph("lake", 1, 1))
    for node in ("canvas", "syncdiffusion", None):
        follower("executing", {"node": node})
    follower("progress", {"node": "syncdiffusion", "value": 1, "max": 1})
    assert set(follower.seconds) == {"canvas", "syncdiffusion"}
