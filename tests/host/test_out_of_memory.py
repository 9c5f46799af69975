"""A device that runs out of memory: batches are halved, the step is done again, and the picture is the same."""

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP

CANVAS, STEPS = 24, 3  # as in the oracle
WAYS = ("sampler", "custom", "apply windows")


def full_above(model, rows):
    """(a clone of the model that runs out of memory above this many rows, the rows of each of its calls)"""
    calls, clone = [], model.clone()

    def apply(executor, x, *args, **kwargs):
        calls.append(len(x))
        if len(x) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return executor(x, *args, **kwargs)

    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", apply)
    return clone, calls


def prompts(small):
    return {"positive": small.conditioning(1), "negative": small.conditioning(2)}


@pytest.mark.parametrize("how", WAYS)
def test_batches_are_halved_and_nothing_is_lost(how, small, models, windowed, oracle, host):
    model, calls = full_above(models["eps"], 4)
    wanted = windowed(how, models["eps"], **prompts(small), per_batch=1)
    host.server.events.clear()
    got = windowed(how, model, **prompts(small))
    oracle.agree(got, wanted)
    failed = [rows for rows in calls if rows > 4]
    assert failed, "nothing failed"
    assert max(calls[calls.index(failed[-1]) + 1 :]) <= 4, "the smaller size was not kept"
    assert sum(b"out of memory" in data for _, data in host.server.events if isinstance(data, bytes)) == len(failed)


@pytest.mark.parametrize("how", WAYS)
def test_a_window_that_does_not_fit_says_what_to_do(how, small, models, windowed):
    model, calls = full_above(models["eps"], 0)
    with pytest.raises(torch.OutOfMemoryError, match="smaller windows") as raised:
        windowed(how, model, **prompts(small))
    assert comfy.model_management.is_oom(raised.value)  # the host unloads its models after such an error
    assert calls[-1] == 2  # one window, with both of its prompts


@pytest.mark.parametrize("how", WAYS)
def test_windows_that_belong_together_say_so(how, small, models, windowed, run_node):
    model, _ = full_above(run_node("SyncDiffusionMergeAttention", model=models["eps"], end_percent=1.0)[0], 4)
    with pytest.raises(torch.OutOfMemoryError, match="Merge Window Attention needs all windows in one call"):
        windowed(how, model, **prompts(small))


@pytest.mark.parametrize("how", WAYS)
def test_an_interrupt_is_not_taken_for_it(how, small, models, windowed):
    model, calls = models["eps"].clone(), []

    def stop(executor, x, *args, **kwargs):
        calls.append(len(x))
        raise comfy.model_management.InterruptProcessingException

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        windowed(how, model, **prompts(small))
    assert len(calls) == 1
