"""What the pack does on a GPU: memory, time, bits, batches, out of memory, streamed weights, previews.

    COMFYUI_PATH=/path/to/ComfyUI python -m bench.gpu
    COMFYUI_PATH=/path/to/ComfyUI python -m bench.gpu --small --out /tmp/gpu

On one GPU of 80 GB it takes at most six minutes and downloads nothing: SD 1.5, SDXL and Flux are the host's own classes
at their real size with random weights, in float16 and bfloat16, and so are the VAEs and the VGG of LPIPS. The report,
as Markdown and JSON named after the device, is written anew after each section, so that whoever ends the command early
loses one. Without CUDA it says so and ends well (status 0, nothing is written); --small runs the same sections on a
tiny network, on a processor too, to see that the command works.

What a machine needs: ComfyUI's folder, named by COMFYUI_PATH, without its models, and a Python with torch for CUDA and
what ComfyUI's requirements.txt and this pack's ask for, but for the frontend, the templates and the embedded docs. Few
other projects have av, alembic, blake3, comfy-aimdo, comfy-kitchen, pydantic, SQLAlchemy and torchsde. Where all has to
be carried there: av's wheel is 36 MB; comfy-kitchen's is 59, but 0.2 for the platform "any", which is enough; ComfyUI
is 10 MB (2 packed) without .git, tests, blueprints, comfy_api_nodes and the tokenizers in comfy/text_encoders.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from bench.gpu_runs import Runs
from bench.gpu_sections import FULL, SMALL, sections
from bench.gpu_states import prepare_streaming
from bench.gpu_table import report
from bench.gpu_time import Clock, Result
from bench.hosts import in_process, prepare_console, required_host
from bench.journal import write_whole
from bench.shape_graphs import prepare

RESULTS = Path(__file__).resolve().parent / "results" / "gpu"
MINUTES = 6.0
NO_GPU = "no CUDA device here, so nothing is measured (--small shows on a processor that the command works)"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all of it; what does not fit is left out")
    parser.add_argument("--small", action="store_true", help="a tiny network instead of the real ones")
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        raise ValueError(f"--minutes: above 0, got {options.minutes:g}")
    return options


def machine() -> dict[str, str]:
    """What the figures are of."""
    on_cuda = torch.cuda.is_available()
    facts = {
        "device": torch.cuda.get_device_name() if on_cuda else f"processor, {platform.machine()}",
        "memory": f"{torch.cuda.mem_get_info()[1] / 2**30:.1f} GiB" if on_cuda else "–",
        "driver": _driver(),
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        "Python": platform.python_version(),
        "ComfyUI": required_host().version,
    }
    return facts


def _driver() -> str:
    if not torch.cuda.is_available() or shutil.which("nvidia-smi") is None:
        return "–"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    return next(iter(said.splitlines()), "–")


def writer(folder: Path, name: str, facts: Mapping[str, str]) -> Callable[[list[Result]], None]:
    """Writes all results so far, as name.md and name.json in the folder."""

    def write(results: list[Result]) -> None:
        data = {"machine": facts, "sections": [asdict(result) for result in results]}
        write_whole(folder / f"{name}.json", (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
        write_whole(folder / f"{name}.md", report(facts, results).encode())

    return write


def run(options: argparse.Namespace) -> Path:
    """Measure and write; the report's path."""
    clock, facts, on_cuda = Clock(60 * options.minutes), machine(), torch.cuda.is_available()
    name = re.sub(r"[^\w.-]+", "_", facts["device"]) + "_small" * options.small
    if on_cuda:
        prepare_streaming()
    with in_process() as runner, tempfile.TemporaryDirectory() as scratch:
        import comfy.model_management
        import comfy.utils

        from bench.gpu_nodes import register

        comfy.utils.PROGRESS_BAR_ENABLED = False
        prepare(Path(scratch))
        register()
        write = writer(options.out, name, facts)

        def after(results: list[Result]) -> None:
            comfy.model_management.interrupt_current_processing(False)
            gc.collect()
            comfy.model_management.soft_empty_cache()
            write(results)
            print(f"{clock.left():4.0f} s left; done: {results[-1].title}", flush=True)

        every = sections(Runs(runner), runner.forget, SMALL if options.small else FULL)
        clock.run(every, comfy.model_management.interrupt_current_processing, after, on_cuda)
    return options.out / f"{name}.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    prepare_console()
    try:
        options = parse(arguments)
        if not options.small and not torch.cuda.is_available():
            print(NO_GPU)
            return
        path = run(options)
        print(path.read_text(encoding="utf-8"))
        print(f"written to {path}")
    except (ValueError, RuntimeError, OSError) as error:
        raise SystemExit(f"{error}") from error


if __name__ == "__main__":
    main()
