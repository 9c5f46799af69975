"""What comes in through the sockets of every node: made canonical, or refused in words.

Nothing that is not what its socket says is guessed at: a picture, a mask or a latent comes out in the one form that the
pack computes with, and what cannot is a ValueError with the socket's name, the rule, the value and a remedy. Any kind
of floating numbers will do, as ComfyUI's settings and other packs make pictures in half precision too.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real

import torch
from comfy_api.latest import io
from torch import Tensor

OVERSHOOT = 0.5
"""So far beyond 0 and 1 a mask that was scaled with sharp edges may go; what goes further is none."""
UNCONNECTED = object()
"""The default of a socket in ``validate_inputs``, where the host gives None for what is linked."""

Box = tuple[float, float, float, float]
"""(x, y, width, height) in pixels."""


def picture(name: str, image: object, least_px: int = 1) -> Tensor:
    """IMAGE -> [N, H, W, 3] in [0, 1], float32. least_px: what either side has to be.

    An alpha channel is dropped and what is beyond black and white is cut off, as where the host shows a picture.
    """
    shape = tuple(_tensor(name, image, "an IMAGE").shape)
    if len(shape) != 4 or shape[-1] not in (3, 4) or 0 in shape:
        raise ValueError(f"{name}: expected pictures [N, H, W, 3], got shape {shape}; connect an IMAGE in colour")
    if min(shape[1:3]) < least_px:
        raise ValueError(
            f"{name}: it is {shape[2]} x {shape[1]} px and the perceptual networks need {least_px} px on either side; "
            "connect a larger picture"
        )
    _check_floating(name, image, "values between 0 and 1")
    _check_finite(name, image)
    return image[..., :3].float().clamp(0, 1)


def mask(name: str, given: object) -> Tensor:
    """MASK [H, W], [B, H, W] or [B, 1, H, W] -> [B, H, W] in [0, 1], float32; values are cut off at 0 and 1."""
    check_mask(name, given)
    return given.reshape(-1, *given.shape[-2:]).float().clamp(0, 1)


def check_mask(name: str, given: object) -> None:
    """Raise ValueError for what is no MASK [H, W], [B, H, W] or [B, 1, H, W]."""
    shape = tuple(_tensor(name, given, "a MASK").shape)
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[1] != 1) or 0 in shape:
        raise ValueError(f"{name}: expected a mask [B, H, W], got shape {shape}; connect a MASK")
    if given.dtype is not torch.bool:
        check_mask_values(name, given)


def check_mask_values(name: str, given: Tensor) -> None:
    """Raise ValueError for numbers that are not a mask's."""
    _check_floating(name, given, "values between 0 and 1")
    _check_finite(name, given)
    least, most = (float(value) for value in given.aminmax())
    if least < -OVERSHOOT or most > 1 + OVERSHOOT:
        raise ValueError(
            f"{name}: its values go from {least:g} to {most:g}, and those of a mask from 0 to 1; scale them, or "
            "connect a MASK"
        )


def check_covers(name: str, place: Tensor) -> None:
    """Raise ValueError for a mask [B, H, W] that is black everywhere, as Load Image's without an alpha channel is."""
    if not place.any():
        raise ValueError(
            f"{name}: the mask is black everywhere, so it covers nothing (Load Image gives such a one for a picture "
            "without transparency); paint the place in the mask editor, or connect another mask"
        )


def latent(name: str, given: object) -> Tensor:
    """The samples of a LATENT, [N, C, H, W] or [N, C, T, H, W] of floating numbers, as they are."""
    samples = given.get("samples") if isinstance(given, dict) else None
    if samples is None:
        raise ValueError(f"{name}: it holds no samples; connect a LATENT, from Empty Latent Image or VAE Encode")
    if getattr(samples, "is_nested", False):
        raise ValueError(f"{name}: nested latents (several media in one) have no single canvas; give one image latent")
    shape = tuple(_tensor(name, samples, "a LATENT").shape)
    if len(shape) not in (4, 5) or 0 in shape:
        raise ValueError(
            f"{name}: expected [N, C, H, W] or [N, C, T, H, W], got shape {shape}; connect a latent of pictures that "
            "is not empty"
        )
    _check_floating(name, samples, "a latent of them")
    _check_finite(name, samples)
    return samples


def conditioning(name: str, given: object) -> list:
    """CONDITIONING that holds a prompt, as it is."""
    entries = given if isinstance(given, list | tuple) else []
    if not entries or not all(len(entry) == 2 and isinstance(entry[1], dict) for entry in entries):
        raise ValueError(f"{name}: it holds no prompt; connect conditioning, from CLIP Text Encode for instance")
    for tensor, options in entries:
        if isinstance(tensor, Tensor):
            _check_finite(name, tensor)
        if options.get("mask") is not None:
            check_mask(f"{name}: a mask in it", options["mask"])
    return list(entries)


def check_connected(name: str, given: object | None, remedy: str) -> None:
    """Raise ValueError for a socket at which there is nothing."""
    if given is None:
        raise ValueError(f"{name}: nothing is connected; {remedy}")


def check_vae(name: str, vae: object | None, channels: int | None = None, of: str = "the model makes") -> None:
    """Raise ValueError for no VAE, or one of latents of other channels. of: whose these are."""
    if vae is None or getattr(vae, "first_stage_model", vae) is None:
        raise ValueError(
            f"{name}: nothing is connected, or the checkpoint holds none, and nobody else can decode this model's "
            "latents; load the model's VAE with Load VAE and connect it"
        )
    if channels is not None and channels != vae.latent_channels:
        raise ValueError(
            f"{name}: it decodes latents of {vae.latent_channels} channels and {of} {channels}; connect the model's "
            "own VAE"
        )


def boxes(name: str, given: object) -> list[list[Box]]:
    """The host's three forms of BOUNDING_BOX, one box, several on each picture, or a list for each, as the last."""
    listed = [given] if isinstance(given, dict) else given
    if not isinstance(listed, list | tuple):
        raise ValueError(
            f"{name}: expected boxes with x, y, width and height, got {_short(given)}; connect BOUNDING_BOX"
        )
    frames = [listed] if all(isinstance(box, dict) for box in listed) else listed
    if not all(frames):
        raise ValueError(f"{name}: no box where at least one is needed; draw one, or check the detector's threshold")
    return [[_box(name, box) for box in _listed(name, frame)] for frame in frames]


def check_widgets(cls: type[io.ComfyNode], **values: object) -> None:
    """Raise ValueError for values that the node's own widgets would not take.

    The host checks what is typed in, but not what comes through a link, nor what ``validate_inputs`` names. None is
    passed over: before the run it is what the host gives for a link.
    """
    declared = {each.id: each for each in cls.define_schema().inputs}
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(declared[name], io.Int.Input | io.Float.Input):
            _check_number(name, value, declared[name])
        elif isinstance(declared[name], io.Combo.Input):
            _check_choice(name, value, declared[name].options)


def told(check: Callable[[], object]) -> bool | str:
    """What ``validate_inputs`` answers: True, or what the check that serves the run says."""
    try:
        check()
    except ValueError as error:
        return str(error)
    return True


def _tensor(name: str, given: object, kind: str) -> Tensor:
    if not isinstance(given, Tensor):
        raise ValueError(f"{name}: expected {kind}, got {_short(given)}; check what is connected")
    return given


def _check_floating(name: str, tensor: Tensor, what: str) -> None:
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name}: expected floating numbers, got {str(tensor.dtype).removeprefix('torch.')}; the node that made it "
            f"has to give {what}"
        )


def _check_finite(name: str, tensor: Tensor) -> None:
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name}: it holds NaN or infinite values; the step that made it has failed")


def _listed(name: str, frame: object) -> list:
    if isinstance(frame, list | tuple):
        return list(frame)
    raise ValueError(f"{name}: expected a list of boxes for each picture, got {_short(frame)}; connect BOUNDING_BOX")


def _box(name: str, box: object) -> Box:
    """Numbers only: a string that reads as one is a node's mistake."""
    if not isinstance(box, dict) or any(part not in box for part in ("x", "y", "width", "height")):
        raise ValueError(f"{name}: a box has x, y, width and height, got {_short(box)}; check the node that made it")
    x, y, width, height = (_number(value) for value in (box["x"], box["y"], box["width"], box["height"]))
    if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
        raise ValueError(
            f"{name}: a box has numbers for x and y, and a width and height of 0 or more, got {_short(box)}; check the "
            "node that made it"
        )
    return x, y, width, height


def _number(value: object) -> float:
    """NaN for what is none."""
    single = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return float(single) if isinstance(single, Real) and not isinstance(single, bool) else math.nan


def _check_number(name: str, value: object, widget: object) -> None:
    whole = isinstance(widget, io.Int.Input)
    if not isinstance(value, Integral if whole else Real):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name}: expected {kind}, got {_short(value)}; check what is connected")
    least, most = widget.min, widget.max
    if not least <= value <= most:
        raise ValueError(f"{name}: it must be between {least:g} and {most:g}, got {value}; check what is connected")


def _check_choice(name: str, value: object, options: list[str]) -> None:
    if value not in options:
        raise ValueError(f"{name}: it must be one of {', '.join(options)}, got {_short(value)}; choose one of them")


def _short(value: object) -> str:
    """What was received, in a few words."""
    words = repr(value)
    return words if len(words) <= 120 else f"{words[:110]} ..."
