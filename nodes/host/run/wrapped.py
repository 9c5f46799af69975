"""What other packs put around a sampler, and between a sampler and the model (Detail Daemon, Lying Sigma).

A sampler of the host is a function of a model; such packs are functions around either, in any order with ours.
"""

from collections.abc import Callable, Iterator
from functools import partial

import comfy.samplers

from ..conditioning.reach import reachable, title


def is_hosts_own(model: object) -> bool:
    """Whether a sampler was given the host's own model, which is known from inside."""
    return type(model) is comfy.samplers.KSamplerX0Inpaint


def host_model_of(model: object) -> comfy.samplers.KSamplerX0Inpaint | None:
    """The host's model, or the one that what is around it calls; None where it cannot be seen.

    A class of a pack's own that is derived from the host's may be around another one: its copy would call that.
    """
    found = [value for _, value in reachable(model) if isinstance(value, comfy.samplers.KSamplerX0Inpaint)]
    return next(filter(is_hosts_own, found), found[0] if found else None)


def guider_of(model: object) -> object:
    """The guider behind what a sampler was given. Raises ValueError where it cannot be seen."""
    guider = getattr(model, "inner_model", None) or getattr(host_model_of(model), "inner_model", None)
    if guider is None:
        raise ValueError(
            f"sampler: {title(model)} stands between the sampler and the model and hides it, so that windows cannot be "
            "laid out; remove it, or put it inside the SyncDiffusion Sampler"
        )
    return guider


def through(model: object) -> Callable | None:
    """How windows call a model: as its guider for None, else through the functions around it, past the noise mask."""
    return None if is_hosts_own(model) else partial(model, denoise_mask=None)


def names_in(sampler: comfy.samplers.KSAMPLER) -> Iterator[str]:
    """Names of the functions of a sampler and of those that it wraps, as far as they can be seen."""
    for _, value in reachable([sampler.sampler_function, sampler.extra_options]):
        if callable(value) and hasattr(value, "__name__"):
            yield value.__name__
