"""What the GPU check measures: a section for each question."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np
from torch import Tensor

from bench.arms import UNGUIDED
from bench.frontier_arms import BALANCED, MODE
from bench.gpu_runs import TITLES, WHOLE, Case, Run, Runs, apart
from bench.gpu_states import crowded, limited, previews, stream_weights, undetermined, weights_on_processor
from bench.gpu_time import Job, Section
from bench.in_process import ESTIMATE

GIB = 2**30
ASKED = 4
"""Windows a call where memory is to run out: of more, not even a whole device holds the activations."""
ROOM = 0.5
"""Of what a run takes beside the weights, where memory is to run out."""
SD15, SDXL, FLUX = (3072, 512), (6144, 1024), (3072, 512)
"""Canvases, in px; a step of Flux takes too long on a larger one."""
FULL = (
    Case("sd15", "float16", SD15),
    Case("sd15", "bfloat16", SD15),
    Case("sdxl", "float16", SDXL),
    Case("flux", "bfloat16", FLUX, steps=3),
    Case("sdxl", "bfloat16", SDXL, steps=3),
    Case("flux", "float16", FLUX, steps=3),
)
SHARES = (2.0, 1.0, 5.0, 5.0, 3.0, 3.0)
"""Of the time, one for each case."""
SMALL = (Case("tiny", "float32", (96, 64), steps=3),)

COSTS = (
    "Seconds are medians of a run's steps after an equal run, the device waited for; those of {whole} steps are "
    "extrapolated, a fifth of them guided (of the presets two fifths, which is their own doing). Used: the peak less "
    "what was allocated before. The differences are those of the two equal runs, the first of which loaded the models."
)
BATCHES = "One window a call against as many as the pack takes by itself: what rounding makes of the same picture."
LIMIT = (
    "Twice the same run, with {asked} windows a call: freely, and where torch may hold the weights and {room:.0%} of "
    "what it took beside them (out of memory), or where another program has taken so much (crowded, windows a call by "
    "the pack)."
)
STREAMED = "Weights in main memory that go to the device layer by layer, as under --novram, against weights that stay."
DYNAMIC = "Dynamic VRAM (comfy-aimdo), the host's default on CUDA; its own memory is not in torch's figures."
PREVIEWS = "A step with Latent2RGB previews against one without, and the last picture's values."
DETERMINISM = "Operations of which torch says that they are not deterministic (torch.use_deterministic_algorithms)."


def sections(runs: Runs, forget: Callable[[], None], cases: Sequence[Case] = FULL) -> list[Section]:
    """All, the quick ones first and the one that changes the host for good last. forget: drops models in memory."""
    first, *others = cases
    jobs_of = partial(_jobs, runs, first)
    costs = [_costs(runs, case, share) for case, share in zip(cases, SHARES, strict=False)]
    guided, title = (UNGUIDED, MODE), str(first)
    return [
        costs[0],
        Section(f"Batches: {title}", BATCHES, 1.0, jobs_of(batches, (UNGUIDED, MODE, BALANCED))),
        Section(
            f"Out of memory: {title}",
            LIMIT.format(asked=ASKED, room=ROOM),
            1.5,
            lambda: chain(jobs_of(run_out, guided)(), jobs_of(with_others, guided, ", crowded")()),
            needs_cuda=True,
        ),
        Section(f"Streamed weights: {title}", STREAMED, 1.5, jobs_of(streamed, guided), needs_cuda=True),
        Section(f"Previews: {title}", PREVIEWS, 0.7, jobs_of(with_previews, (MODE,))),
        Section(f"Determinism: {title}", DETERMINISM, 0.7, jobs_of(determinism, (UNGUIDED, MODE, BALANCED))),
        *costs[1:],
        Section(f"Dynamic VRAM: {title}", DYNAMIC, 2.0, jobs_of(partial(dynamic, forget), guided), needs_cuda=True),
    ]


def _jobs(
    runs: Runs, case: Case, measure: Callable[[Runs, Case, str], dict], arms: Sequence[str], suffix: str = ""
) -> Callable[[], Iterator[Job]]:
    return lambda: ((TITLES[arm] + suffix, partial(measure, runs, case, arm)) for arm in arms)


def _costs(runs: Runs, case: Case, share: float) -> Section:
    return Section(str(case), COSTS.format(whole=WHOLE), share, _jobs(runs, case, cost, tuple(TITLES)))


def cost(runs: Runs, case: Case, arm: str) -> dict:
    """Time, memory against what was announced, and two equal runs."""
    first, run = runs.warm(case, arm)
    return {
        "preparation, s": run.preparation,
        **_steps(run),
        f"{WHOLE} steps, s": run.whole,
        "peak, GiB": run.peak / GIB,
        "reserved, GiB": run.reserved / GIB,
        **_used(run),
        **_differences(first.latent, run.latent),
        "announced": _lines(run, ESTIMATE.search),
    }


def batches(runs: Runs, case: Case, arm: str) -> dict:
    """One window a call against the pack's own choice."""
    automatic, single = runs(case, arm), runs(case, arm, windows_per_batch=1)
    return {**_differences(automatic.latent, single.latent), "of values up to": float(automatic.latent.abs().max())}


def run_out(runs: Runs, case: Case, arm: str) -> dict:
    """Memory that is used up half-way."""
    free = runs.warm(case, arm, windows_per_batch=ASKED)[1]
    room = ROOM * (free.peak - free.held)
    with limited(free.held + room):
        tight = runs(case, arm, windows_per_batch=ASKED)
    return _tight(free, tight, room)


def with_others(runs: Runs, case: Case, arm: str) -> dict:
    """A device that others use too, which the pack can see before it begins."""
    free = runs.warm(case, arm)[1]
    room = ROOM * (free.peak - free.held)
    with crowded(room):
        tight = runs(case, arm)
    return _tight(free, tight, room)


def streamed(runs: Runs, case: Case, arm: str) -> dict:
    """Weights on the processor."""
    resident = runs.warm(case, arm)[1]
    with weights_on_processor():
        run = runs.warm(case, arm)[1]
    return {**_steps(run), **_used(run), **_differences(resident.latent, run.latent), "said": _remarks(run)}


def dynamic(forget: Callable[[], None], runs: Runs, case: Case, arm: str) -> dict:
    """The host's dynamic VRAM, from here on."""
    forget()
    stream_weights()
    first, run = runs.warm(case, arm)
    return {**_steps(run), **_used(run), **_differences(first.latent, run.latent), "said": _remarks(run)}


def with_previews(runs: Runs, case: Case, arm: str) -> dict:
    """What previews cost."""
    without = runs.warm(case, arm)[1]
    with previews() as pictures:
        run = runs.warm(case, arm)[1]
    row = {**_steps(without), **{f"{name}, with previews": value for name, value in _steps(run).items()}}
    if not pictures:
        return {**row, "pictures": 0}
    last = np.asarray(pictures[-1])
    values = f"{last.min()} to {last.max()}, mean {last.mean():.0f}"
    return {**row, "pictures": len(pictures), "size": f"{last.shape[1]}x{last.shape[0]}", "values": values}


def determinism(runs: Runs, case: Case, arm: str) -> dict:
    """What torch cannot promise of a run."""
    with undetermined() as operations:
        runs(case, arm)
    return {"operations": ", ".join(sorted(operations)) or "none"}


def _steps(run: Run) -> dict:
    return {"guided step, s": run.guided_step, "plain step, s": run.plain_step}


def _used(run: Run) -> dict:
    used, announced = run.peak - run.held, run.announced
    return {
        "before, GiB": run.held / GIB,
        "used, GiB": used / GIB,
        "announced / used": None if announced is None or used <= 0 else announced / used,
    }


def _differences(one: Tensor, other: Tensor) -> dict:
    largest, share = apart(one, other)
    return {"largest difference": largest, "values changed, %": 100 * share}


def _tight(free: Run, tight: Run, room: float) -> dict:
    used = {"used freely, GiB": (free.peak - free.held) / GIB, "room, GiB": room / GIB}
    return {**used, **_differences(free.latent, tight.latent), "said": _remarks(tight)}


def _remarks(run: Run) -> str:
    """What was said of memory, and of what was done otherwise than asked for."""
    words = ("out of memory", "forward only", "recomputed")
    return _lines(run, lambda line: ESTIMATE.search(line) or any(word in line for word in words))


def _lines(run: Run, wanted: Callable[[str], object]) -> str:
    lines = [line for text in run.said for line in text.splitlines() if wanted(line)]
    return "; ".join(dict.fromkeys(lines)) or "–"
