"""The table of spheres has the nodes' settings, though it runs without their host."""

import pytest

from bench.sphere_maker import GUIDED_PART, MARGIN_PX, MAX_MOVE
from bench.sphere_rows import BALANCED, FAST, REFERENCE


@pytest.mark.parametrize(("name", "preset"), [("reference", REFERENCE), ("balanced", BALANCED), ("fast", FAST)])
def test_presets_are_those_of_the_nodes(module_of, name, preset):
    savings = {key.value: each for key, each in module_of("host.run.savings").PRESETS.items()}[name]
    assert (savings.gradient.value, savings.second_pass) == (preset.gradient.value, preset.second_pass)
    assert (savings.span, savings.strength) == (preset.span, preset.strength)
    assert savings.look.value.startswith("light decoder" if preset.light else "full decoder")
    assert (savings.guided.value, savings.shrink, savings.part) == ("all", 1, 1.0)


def test_guidance_and_decoding_are_as_widgets_come(pack):
    inputs = pack["SyncDiffusionGuidance"].INPUT_TYPES()["required"]
    assert (inputs["end_percent"][1]["default"], inputs["max_move"][1]["default"]) == (GUIDED_PART, MAX_MOVE)
    decode = pack["SyncDiffusionPanoramaDecode"].INPUT_TYPES()
    widgets = {**decode["required"], **decode.get("optional", {})}
    assert widgets["wrap_margin"][1]["default"] == MARGIN_PX
