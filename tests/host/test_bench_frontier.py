"""The rows of the frontier against the nodes that there are: what a host lacks would be skipped in a run."""

import pytest

from bench.frontier_arms import TILED_DIFFUSION, frontier_arms
from bench.graphs import graph_of
from bench.protocol import FRONTIER, SAVINGS
from bench.surface import lacking

ARMS = {arm.name: arm for arm in frontier_arms(FRONTIER, range(1)) if arm.name != TILED_DIFFUSION}


@pytest.fixture
def declared(host, pack):
    def inputs(class_type):
        cls = host.mappings.get(class_type)
        return None if cls is None else cls.INPUT_TYPES()

    return inputs


@pytest.mark.parametrize("name", ARMS)
def test_a_rows_graph_is_of_nodes_and_widgets_that_there_are(declared, name):
    graph = graph_of(FRONTIER, ARMS[name], seed=0)
    graph.pop("pictures", None)  # uploaded before a run
    assert lacking(graph, declared) is None


def test_savings_that_save_nothing_are_the_nodes_defaults(declared):
    inputs = declared("SyncDiffusionSavings")
    widgets = {**inputs["required"], **inputs.get("optional", {})}
    assert {name: spec[1]["default"] for name, spec in widgets.items()} == SAVINGS
