"""Weights by step: the paper's numbers by index, the same dose by percent."""

import random

import pytest

from syncdiffusion_core.schedule import Clock, GuidanceSchedule, concentrate


def steps(n: int) -> list[float]:
    """Percents of a schedule that begins at the first timestep: k / n."""
    return [k / n for k in range(n + 1)]


def sd_percents(n: int) -> list[float]:
    """Percents of ddim's timesteps on SD's schedule, t = 1 + k 1000/n: p = (999 - t)/999; the end is 1."""
    return [(999 - t) / 999 for t in range(1, 1000, 1000 // n)][::-1] + [1.0]


def paper(k: int, w: float = 20.0) -> float:
    return w * 0.95**k


PAPER_DOSE = sum(paper(k) for k in range(50))


def test_the_papers_weights_by_index():
    weights = GuidanceSchedule(20.0, 0.95, end=1.0, clock=Clock.INDEX).weights(steps(50))
    assert len(weights) == 50
    assert weights == pytest.approx([paper(k) for k in range(50)], rel=1e-12)
    assert weights[0] == 20.0
    assert weights[1] == pytest.approx(19.0)
    assert weights[49] == pytest.approx(1.6199, abs=1e-4)


def test_every_fifth_step_by_index():
    """``sync_freq`` 5: steps 4, 9, 14 …; the weight decays on the steps between, too."""
    weights = GuidanceSchedule(every=5, end=1.0, clock=Clock.INDEX).weights(steps(50))
    assert [k for k, w in enumerate(weights) if w] == list(range(4, 50, 5))
    assert weights[4] == pytest.approx(paper(4))
    assert weights[49] == pytest.approx(paper(49))


@pytest.mark.parametrize("clock", list(Clock))
def test_ten_of_fifty_steps(clock):
    """``sync_thres`` 10."""
    for percents in (steps(50), sd_percents(50)):
        weights = GuidanceSchedule(end=0.2, clock=clock).weights(percents)
        assert [k for k, w in enumerate(weights) if w] == list(range(10))


def test_every_and_thres_together():
    weights = GuidanceSchedule(every=5, end=0.2, clock=Clock.INDEX).weights(steps(50))
    assert [k for k, w in enumerate(weights) if w] == [4, 9]


@pytest.mark.parametrize("clock", list(Clock))
@pytest.mark.parametrize("every", [1, 2, 5, 7])
def test_every_n_counts_alike_on_both_clocks(clock, every):
    weights = GuidanceSchedule(every=every, end=1.0, clock=clock).weights(sd_percents(50))
    assert [k for k, w in enumerate(weights) if w] == list(range(every - 1, 50, every))


def test_percent_weights_are_the_papers_on_its_schedule():
    """Within .3 % but for the last step, which is one timestep long."""
    percents = sd_percents(50)
    assert percents[0] == pytest.approx(18 / 999)
    weights = GuidanceSchedule(end=1.0).weights(percents)
    assert weights[:49] == pytest.approx([paper(k) for k in range(49)], rel=3e-3)
    assert 0 < weights[49] < 0.1 * paper(49)


def test_percent_weights_by_their_formula():
    """w decay^(50 (p_k - p_0)) min(50 (p_k+1 - p_k), 3), p_0 = min(p of the first step, .02)."""
    percents = [0.01, 0.03, 0.1, 0.11, 0.4, 1.0]
    weights = GuidanceSchedule(7.0, 0.9, end=1.0).weights(percents)
    expected = [
        7 * 0.9 ** (50 * (here - 0.01)) * min(50 * (there - here), 3)
        for here, there in zip(percents[:-1], percents[1:], strict=True)
    ]
    assert weights == pytest.approx(expected)


@pytest.mark.parametrize("n", [50, 45, 40, 33, 30, 25, 20])
def test_the_dose_does_not_follow_the_steps(n):
    assert sum(GuidanceSchedule(end=1.0).weights(steps(n))) == pytest.approx(PAPER_DOSE, rel=0.05)


@pytest.mark.parametrize("n", [50, 40, 25, 20])
def test_the_dose_of_sds_own_timesteps(n):
    assert sum(GuidanceSchedule(end=1.0).weights(sd_percents(n))) == pytest.approx(PAPER_DOSE, rel=0.05)


@pytest.mark.parametrize(("n", "share"), [(10, 0.66), (8, 0.55), (4, 0.32)])
def test_the_limit_of_a_step_leaves_part_of_the_dose(n, share):
    assert sum(GuidanceSchedule(end=1.0).weights(steps(n))) / PAPER_DOSE == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize("n", [100, 200])
def test_many_steps_share_the_dose(n):
    weights = GuidanceSchedule(end=1.0).weights(steps(n))
    assert weights[0] == pytest.approx(20 * 50 / n)
    assert sum(weights) == pytest.approx(PAPER_DOSE, rel=0.05)


@pytest.mark.parametrize("n", [10, 20, 25, 40, 50])
def test_a_fifth_of_the_schedule_is_a_fifth_of_the_steps(n):
    for percents in (steps(n), sd_percents(n)):
        for clock in Clock:
            weights = GuidanceSchedule(end=0.2, clock=clock).weights(percents)
            assert sum(w > 0 for w in weights) == n // 5


@pytest.mark.parametrize("clock", list(Clock))
@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 0.2), (0.1, 0.3), (0.14, 0.5), (0.28, 1.0), (0.56, 0.58), (0.02, 0.04)]
)
def test_start_and_end_in_steps_of_fifty(clock, start, end):
    weights = GuidanceSchedule(start=start, end=end, clock=clock).weights(steps(50))
    assert [k for k, w in enumerate(weights) if w] == list(range(round(50 * start), round(50 * end)))


def test_nothing_lies_between_a_start_and_the_same_end():
    for clock in Clock:
        assert not any(GuidanceSchedule(start=0.2, end=0.2, clock=clock).weights(steps(50)))
        assert not any(GuidanceSchedule(end=0.0, clock=clock).weights(steps(50)))


def test_a_run_that_starts_late_misses_the_guided_range():
    """denoise 0.4: the first state is already at 60 % of the schedule."""
    percents = [0.6 + 0.4 * k / 20 for k in range(21)]
    assert not any(GuidanceSchedule(end=0.2).weights(percents))
    weights = GuidanceSchedule(end=1.0).weights(percents)
    assert weights[0] == pytest.approx(20 * 0.95 ** (50 * (0.6 - 0.02)) * 50 * 0.02)


@pytest.mark.parametrize("seed", range(20))
def test_a_run_in_two_parts_is_weighted_as_one_by_index(seed):
    dice = random.Random(seed)
    n = dice.randint(3, 60)
    cut, percents = dice.randint(1, n - 1), steps(n)
    start, end = sorted((dice.random(), dice.random()))
    schedule = GuidanceSchedule(start=start, end=end, every=dice.randint(1, 4), clock=Clock.INDEX)
    whole = schedule.weights(percents)
    parts = schedule.weights(percents[: cut + 1], total=n) + schedule.weights(percents[cut:], first=cut, total=n)
    assert parts == whole


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("cut", [1, 5, 10, 11, 30])
def test_a_run_in_two_parts_is_weighted_as_one_by_percent(cut, every):
    """Start and end step with leftover noise: the same steps are guided, with the weights they had."""
    percents, schedule = sd_percents(50), GuidanceSchedule(end=0.2, every=every)
    whole = schedule.weights(percents)
    parts = schedule.weights(percents[: cut + 1]) + schedule.weights(percents[cut:], first=cut)
    assert [w > 0 for w in parts] == [w > 0 for w in whole]
    assert parts == pytest.approx(whole, rel=0.01)


def test_weight_zero_guides_nothing():
    for clock in Clock:
        assert GuidanceSchedule(weight=0.0, end=1.0, clock=clock).weights(steps(10)) == [0.0] * 10


def test_no_decay_is_one_weight():
    weights = GuidanceSchedule(5.0, decay=1.0, end=1.0, clock=Clock.INDEX).weights(steps(10))
    assert weights == [5.0] * 10


def test_the_defaults_are_the_papers():
    schedule = GuidanceSchedule()
    assert (schedule.weight, schedule.decay, schedule.start, schedule.every) == (20.0, 0.95, 0.0, 1)


NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": -1.0}, ["weight", "0 or more", "-1.0", "20 is the paper's"]),
        ({"weight": NAN}, ["weight", "nan"]),
        ({"decay": 0.0}, ["decay", "above 0", "0.0", ".95"]),
        ({"decay": 1.2}, ["decay", "at most 1", "1.2"]),
        ({"decay": NAN}, ["decay", "nan"]),
        ({"start": 0.5, "end": 0.2}, ["start", "end", "0.5", "0.2"]),
        ({"start": -0.1}, ["start", "-0.1"]),
        ({"end": 1.1}, ["end", "1.1"]),
        ({"end": NAN}, ["end", "nan"]),
        ({"every": 0}, ["n-th step", "at least 1", "got 0"]),
    ],
)
def test_settings_without_sense_are_refused(options, words):
    with pytest.raises(ValueError) as error:
        GuidanceSchedule(**options)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(("part", "steps"), [(1.0, 5), (0.5, 3), (0.2, 1), (0.01, 1)])
def test_the_first_part_of_the_guided_steps_carries_the_weight_of_all(part, steps):
    weights = [0.0, 10.0, 0.0, 9.0, 8.0, 7.0, 6.0, 0.0]
    got = concentrate(weights, part)
    kept = [k for k, weight in enumerate(weights) if weight][:steps]
    assert [k for k, weight in enumerate(got) if weight] == kept
    assert sum(got) == pytest.approx(40.0)
    assert all(got[k] / got[kept[0]] == pytest.approx(weights[k] / weights[kept[0]]) for k in kept)


def test_nothing_to_concentrate():
    assert concentrate([0.0, 0.0], 0.5) == [0.0, 0.0]
    with pytest.raises(ValueError, match="above 0 and at most 1, got 0"):
        concentrate([1.0], 0)
