"""Safetensors files, read with suspicion: the header is checked before anything is made of it.

A clone that broke off, a page saved as a file, another program's tensors: each is a ValueError that names the file,
says what is wrong with it and what to do. No memory is taken before names, types and shapes are known to fit.
"""

import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

FLOATS = ("F16", "BF16", "F32", "F64")
POINTER = b"version https://git-lfs"
PART = ".syncdiffusion-part"
"""How a file ends that is being written; no other program's do."""
LONGEST_JSON = 100_000
"""Characters of metadata that are parsed; the longest that is shipped has some 1000."""
LONGEST = 300
"""Characters of a file's own words that an error repeats."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WeightsFile:
    """The header of a safetensors file, and what to tell people where it is wrong.

    kind: what the file should be. remedy: what to do about one that is not. shapes: of its tensors, by name.
    """

    path: Path
    kind: str
    remedy: str
    metadata: dict[str, str]
    shapes: dict[str, Shape]

    def refusal(self, reason: str) -> ValueError:
        """What to raise for a reason that was found in the file."""
        return ValueError(f"{self.path.name}: {_brief(reason)}; {self.remedy}")

    def json(self, name: str) -> object:
        """A value of the metadata. Raises ValueError where it is missing or no JSON."""
        if name not in self.metadata:
            raise self.refusal(f"its metadata has no '{name}'")
        if len(self.metadata[name]) > LONGEST_JSON:
            raise self.refusal(f"'{name}' of its metadata is longer than {LONGEST_JSON} characters")
        try:
            return json.loads(self.metadata[name])
        except (ValueError, RecursionError) as error:
            raise self.refusal(f"'{name}' of its metadata is no JSON ({error})") from error

    def number(self, name: str, default: float, lowest: float, highest: float) -> float:
        """A number of the metadata. Raises ValueError where it is none, or not between the bounds."""
        said = self.metadata.get(name, default)
        try:
            value = float(said)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise self.refusal(f"'{name}' of its metadata must be a number from {lowest:g} to {highest:g}, got {said}")
        return value

    def check_shapes(self, wanted: Mapping[str, Shape], what: str) -> None:
        """Raise ValueError where names or shapes are not those of what the file should hold."""
        differences = [*_differences(self.shapes, wanted)]
        if differences:
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            raise self.refusal(f"its weights do not fit {what}: {differences[0]}{more}")

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Its tensors in memory of their own, which outlives the file. Raises ValueError for NaN and infinity."""
        with _reading(self.path, self.kind, self.remedy), safe_open(self.path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).to(dtype, copy=True) for name in self.shapes}
        self.check_finite(tensors)
        return tensors

    def check_finite(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise ValueError for NaN and infinity in what was read of the file."""
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise self.refusal(f"its tensor '{name}' holds NaN or infinite values")

    def check_fit(self, module: nn.Module, what: str, rename: Callable[[str], str] = str) -> dict[str, str]:
        """The file's name of each weight of a module. rename: from the file's to the module's.

        Raises ValueError where names or shapes are not the module's.
        """
        names = {rename(name): name for name in self.shapes}
        wanted = shapes_of(module)
        self.check_shapes({names.get(name, name): shape for name, shape in wanted.items()}, what)
        return {name: names[name] for name in wanted}

    def fill(self, module: nn.Module, what: str, rename: Callable[[str], str] = str) -> None:
        """Give a module its weights, in float32; it may have been made without memory, on torch's meta device.

        Raises ValueError as ``check_fit`` does, and for weights that are not finite.
        """
        names = self.check_fit(module, what, rename)
        tensors = self.tensors()
        module.load_state_dict({own: tensors[name] for own, name in names.items()}, strict=True, assign=True)


def open_weights(path: Path, kind: str, remedy: str) -> WeightsFile:
    """The header of a file; its size costs nothing. Raises ValueError where it is not one of floating point tensors."""
    with _reading(path, kind, remedy):
        _check_file(path)
        with safe_open(path, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            types = {name: part.get_dtype() for name, part in slices.items()}
            file = WeightsFile(path, kind, remedy, opened.metadata() or {}, shapes)
    for name, dtype in types.items():
        if dtype not in FLOATS:
            raise file.refusal(f"its tensor '{name}' is of type {dtype}, and weights are one of {', '.join(FLOATS)}")
    return file


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file whole or not at all; readers and other writers see the old one until then.

    A process that is killed in between leaves a file behind that ends in ``PART``. Raises OSError as writing does.
    """
    content = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, metadata)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name and none of the bytes
        os.replace(part, path)
    except BaseException:  # an interrupt too
        with suppress(OSError):
            part.unlink()
        raise


def shapes_of(module: nn.Module, prefix: str = "") -> dict[str, Shape]:
    """Of what a module's state dict holds, by name."""
    return {prefix + name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@contextmanager
def _reading(path: Path, kind: str, remedy: str) -> Iterator[None]:
    """Turns what reading a file raises into a ValueError that names it."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name}: not a readable {kind} ({_brief(error)}); {remedy}") from error


def _check_file(path: Path) -> None:
    """Raise OSError, in words, for what people find where a file should be."""
    if path.is_dir():
        raise OSError("it is a folder")
    if not path.exists():
        raise OSError("it is missing")
    if not path.is_file():
        raise OSError("it is no ordinary file")
    with path.open("rb") as file:
        start = file.read(len(POINTER))
    if not start:
        raise OSError("it is empty")
    if start == POINTER:
        raise OSError("it is a Git LFS pointer in the file's place; 'git lfs pull' fetches the file itself")


def _differences(given: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> Iterator[str]:
    for name, shape in wanted.items():
        if name not in given:
            yield f"{name} is missing"
        elif given[name] != shape:
            yield f"{name} is {list(given[name])} and not {list(shape)}"
    yield from (f"{name} is too much" for name in given if name not in wanted)


def _brief(words: object) -> str:
    text = str(words)
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."
