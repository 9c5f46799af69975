"""A share of the campaign (`python -m bench.campaign`), and the campaign itself: what it draws, judges and writes."""

import asyncio
import json

import pytest
import torch

from bench.campaign import packs, report, running, strategies
from bench.campaign.blocks import BLOCK, Place, draw_block, smallest
from bench.campaign.cases import Call, Case, Thing, parts
from bench.campaign.control import differences, observe
from bench.campaign.ground import INTERRUPTED, REFUSED, Failure, Ground
from bench.campaign.strategies import LINES, PANORAMA, SAMPLER, SAVINGS, SHARES, TILER
from bench.campaign.verdicts import PACK_ROOT, Verdict, has_nan, is_clear, signature, verdict_of
from bench.journal import Journal

SEED = 13
"""Another than the campaign's own, so that the tests see other cases."""
MOST = 40
"""Cases of a node here."""


@pytest.fixture(scope="module")
def ground(host, pack):
    """A ground on the tests' own host."""
    made = Ground(host.server)
    made.world.make_all()
    return made


@pytest.fixture(scope="module")
def before(ground, host):
    """What has to be the same after all cases."""
    observe(ground, host.base)
    return observe(ground, host.base)


def told(case, ran):
    """What somebody needs who mends it."""
    return f"{case!r}\n{ran.failure.kind}: {ran.failure.message}\nat {ran.failure.place}"


@pytest.mark.parametrize("node", SHARES)
def test_allowed_values_give_results_or_sentences(node, ground, before):
    """No case ends in an error that nobody can act on, and none makes NaN of numbers."""
    place = Place(SEED, node, 0)
    for index, case in enumerate(draw_block(place)[:MOST]):
        ran = ground.run(case.call)
        assert not has_nan(case, ran), f"NaN: {case!r}"
        if verdict_of(ran.failure) is Verdict.UNCLEAR:
            found = Place(SEED, node, 0, index)
            pytest.fail(told(*running.shrunk(found, signature(ran.failure), ground)))


def test_all_that_leaves_no_trace(ground, before, host):
    """After the cases above: the clean run's bits, what is alive, the files."""
    assert differences(before, observe(ground, host.base)) == {}


class TestDrawing:
    """Cases."""

    @pytest.mark.parametrize("node", [TILER, PANORAMA])
    def test_a_place_is_always_the_same_case(self, node, ground):
        first, again = (draw_block(Place(1, node, 2)) for _ in range(2))
        assert [repr(case) for case in first] == [repr(case) for case in again]
        assert repr(first) != repr(draw_block(Place(1, node, 3)))
        assert repr(first) != repr(draw_block(Place(2, node, 2)))

    def test_a_block_is_full_and_of_its_node(self, ground):
        drawn = draw_block(Place(0, PANORAMA, 0))
        assert len(drawn) == BLOCK
        assert {case.node for case in drawn} == {PANORAMA}
        assert len({repr(case) for case in drawn}) > 0.8 * BLOCK

    def test_widgets_keep_to_their_schema(self, ground, host):
        inputs = {each.id: each for each in host.mappings[TILER].define_schema().inputs}
        for case in draw_block(Place(0, TILER, 0)):
            for name, value in case.call.inputs.items():
                limits = inputs[name]
                if type(value) is int:
                    assert limits.min <= value <= limits.max
                elif type(value) is str:
                    assert value in limits.options

    def test_a_failing_case_becomes_smaller(self, ground):
        def fails(case):
            return case.call.inputs["window_width"] > 100

        place = Place(0, TILER, 0)
        index = next(k for k, case in enumerate(draw_block(place)) if fails(case) and case.call.inputs["wrap_x"])
        case = smallest(Place(0, TILER, 0, index), fails)
        assert fails(case)
        assert not case.call.inputs["wrap_x"]


class TestRunning:
    """One case by the host."""

    def test_a_result_holds_what_the_node_gives(self, ground):
        call = Call(LINES, {"clip": Thing("CLIP", {}), "prompts": "a\nb", **self.widgets()})
        ran = ground.run(call)
        assert ran.failure is None
        assert len(ran.outputs[0]) == 2

    def test_the_host_refuses_before_it_runs(self, ground):
        call = Call(LINES, {"clip": Thing("CLIP", {}), "prompts": "a", **self.widgets(), "blend": 7.0})
        failure = ground.run(call).failure
        assert (failure.kind, failure.rule, failure.node) == (REFUSED, "value_bigger_than_max", LINES)
        assert is_clear(failure)

    def test_a_raised_error_is_told_with_its_node_and_place(self, ground):
        failure = ground.run(Call(LINES, {"clip": Thing("CLIP", {}), "prompts": " ", **self.widgets()})).failure
        assert is_clear(failure), failure
        assert failure.node == LINES

    @staticmethod
    def widgets():
        return {"common": "", "direction": "left to right", "blend": 0.5, "loop": False}

    def test_nan_counts_where_the_inputs_had_none(self, ground):
        result = running.Ran((torch.tensor([1.0, float("nan")]),), None, 0.0)
        image = Thing("IMAGE", {"shape": (1, 8, 8, 3), "fill": "noise"})
        broken = Thing("IMAGE", {"shape": (1, 8, 8, 3), "fill": "nan"})
        assert has_nan(Case("X", Call("X", {"image": image})), result)
        assert not has_nan(Case("X", Call("X", {"image": broken})), result)

    def test_parts_are_all_of_a_graph(self):
        thing = Thing("MODEL", {"name": "eps"})
        inner = Call("A", {"model": thing, "steps": 3})
        assert {id(each) for each in parts(Call("B", {"model": inner}))} >= {id(thing), id(inner)}


class TestClear:
    """Which errors somebody can act on."""

    OURS = f'File "{PACK_ROOT}/nodes/x.py", line 1, in f'
    SENTENCE = "stride_x: it must be between 8 and 64, got 72; choose a smaller stride"

    @pytest.mark.parametrize(
        ("kind", "message", "place", "rule", "clear"),
        [
            ("ValueError", SENTENCE, OURS, "", True),
            ("ValueError", SENTENCE, 'File "/usr/lib/torch/nn.py", line 1, in f', "", False),
            ("RuntimeError", SENTENCE, OURS, "", False),
            ("KeyError", "'x'", OURS, "", False),
            ("ValueError", "stride_x: it must be between 8 and 64, got 72", OURS, "", False),
            ("ValueError", "something went wrong here for some reason; try again later", OURS, "", False),
            ("ValueError", "model: no; stop it now", OURS, "", False),
            ("torch.OutOfMemoryError", "CUDA out of memory.", OURS, "", False),
            ("torch.OutOfMemoryError", "CUDA out of memory.\nUse smaller windows.", OURS, "", True),
            (INTERRUPTED, "", "", "", True),
            (REFUSED, "Value 0 smaller than min of 8: stride_x", "", "value_smaller_than_min", True),
            (REFUSED, f"Custom validation failed: stride_x - {SENTENCE}", "", "custom_validation_failed", True),
            (REFUSED, "Custom validation failed: stride_x", "", "custom_validation_failed", False),
        ],
    )
    def test_of(self, kind, message, place, rule, clear, ground):
        assert is_clear(Failure(TILER, kind, message, place, rule)) == clear

    def test_what_the_host_raises_before_us_is_its_own(self, ground):
        """And what it raises within us, or for one of our nodes, is not."""
        hosts = 'File "/host/comfy/samplers.py", line 1, in g'
        for node, files, verdict in (
            ("KSampler", (hosts,), Verdict.HOST),
            ("KSampler", (hosts, self.OURS, hosts), Verdict.UNCLEAR),
            (TILER, (hosts,), Verdict.UNCLEAR),
        ):
            assert verdict_of(Failure(node, "RuntimeError", "size mismatch", hosts, files=files)) is verdict

    def test_numbers_make_no_other_error(self):
        first, second = (Failure(TILER, "ValueError", f"stride: got {k}; take 8") for k in (3, 7.5))
        assert signature(first) == signature(second)


class TestCampaign:
    """Blocks, journal and table."""

    def test_every_node_has_its_share(self, tmp_path):
        plan = running.Plan(10000, 0, tmp_path)
        blocks = list(plan.blocks())
        assert sum(size for _, size in blocks) == sum(plan.of(node) for node in SHARES) >= 9990
        assert {place.node for place, _ in blocks} == set(SHARES)
        assert len({str(place) for place, _ in blocks}) == len(blocks)

    def test_a_journal_goes_on_and_a_table_adds_up(self, ground, host, tmp_path, monkeypatch):
        monkeypatch.setattr(running, "SHARES", {SAVINGS: 1, TILER: 1})
        plan, journal = running.Plan(12, 5, host.base), Journal(tmp_path / "runs.jsonl")
        running.run(plan, ground, journal)
        rows = running.rows_of(journal, 5)
        running.run(plan, ground, journal)
        assert running.rows_of(journal, 5) == rows
        figures = report.figures_of(rows)
        total = figures[-1]
        assert (total.node, total.cases) == ("all", 12)
        assert total.results + total.clear + total.host + total.unclear == 12
        text = report.table(figures, report.unclear_of(rows, 5), "words")
        assert f"| {SAVINGS} | 6 | 6 | 0 | 0 | 0 | 0 | 0 | 0 |" in text
        json.dumps(report.as_json(figures, []))

    def test_unclear_errors_are_listed_once_with_their_place(self):
        rows = [
            {"node": TILER, "block": block, "unclear": {"a": [3, 4], **({"b": [7]} if block else {})}}
            for block in range(2)
        ]
        found = report.unclear_of(rows, 0)
        assert [(each.signature, each.count, str(each.place)) for each in found] == [
            ("a", 4, f"{TILER}/0/3"),
            ("b", 1, f"{TILER}/1/7"),
        ]


PACK = """
class Louder:
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "wrap"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"sampler": ("SAMPLER",), "amount": ("FLOAT", {"default": 0.1}), "how": (["a", "b"],)}}

    def wrap(self, sampler, amount, how):
        return (sampler,)


class NeedsMore(Louder):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"sampler": ("SAMPLER",), "image": ("IMAGE",)}}


NODE_CLASS_MAPPINGS = {"TestLouder": Louder, "TestNeedsMore": NeedsMore}
"""


def test_samplers_of_other_packs_stand_around_the_hosts(ground, host, tmp_path, monkeypatch):
    """Those that need no other link."""
    monkeypatch.setattr(packs, "FOREIGN", {kind: [] for kind in packs.LINKED})
    monkeypatch.setattr(strategies, "FOREIGN", packs.FOREIGN)
    (tmp_path / "other" / "__init__.py").parent.mkdir()
    (tmp_path / "other" / "__init__.py").write_text(PACK)
    known = set(host.mappings)
    try:
        assert asyncio.run(host.nodes.load_custom_node(str(tmp_path / "other")))
        assert packs.note(known) == {"SAMPLER": ["TestLouder"], "MODEL": []}
        drawn = draw_block(Place(0, SAMPLER, 0))
        wrapped = [part for case in drawn for part in parts(case.call) if getattr(part, "node", "") == "TestLouder"]
        assert wrapped
        assert wrapped[0].inputs["amount"] == 0.1
        assert wrapped[0].inputs["how"] == "a"
        assert ground.run(wrapped[0]).failure is None
    finally:
        for name in ("TestLouder", "TestNeedsMore"):
            host.mappings.pop(name, None)
