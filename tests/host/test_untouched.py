"""What is given to our nodes behaves the same afterwards, and nothing stays behind."""

import gc
import hashlib
import subprocess
import sys
import weakref
from pathlib import Path

import psutil
import pytest
import torch

PACK_ROOT = Path(__file__).parents[2]


def digest(module: torch.nn.Module) -> str:
    """Hash of all weights and buffers, names, dtypes and types included."""
    state = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        state.update(f"{name} {tensor.dtype} {type(tensor).__name__} {tensor.is_inference()}".encode())
        state.update(tensor.detach().clone().cpu().numpy().tobytes())
    return state.hexdigest()


@torch.inference_mode()
def decode(vae, latent: torch.Tensor) -> torch.Tensor:
    """The host's plain decode, as its nodes call it."""
    return vae.decode(latent)


def test_model_and_vae_are_the_same_before_and_after(
    models, vae, perceptual, ksampler, panorama, windows, guidance, run_node
):
    model = models["eps"]
    modules = [model.model, vae.first_stage_model, perceptual.network]
    hashes, render = [digest(m) for m in modules], ksampler(model)
    decoded = decode(vae, render)
    options = repr(model.model_options)
    for gradient in ("through the model", "forward only"):
        guide = guidance(weight=200.0, end_percent=1.0, gradient=gradient)
        panorama(model, windows(64, 32), guidance=guide, steps=3)
    run_node("SyncDiffusionApplyWindows", model=model, windows=windows(64, 32))
    assert [digest(m) for m in modules] == hashes
    assert repr(model.model_options) == options
    assert torch.equal(ksampler(model), render)
    assert torch.equal(decode(vae, render), decoded)


def host_functions() -> dict[str, int]:
    """Identity of every function and class attribute of the host's modules that peers replace."""
    found = {}
    for name, module in list(sys.modules.items()):
        if module is None or not name.startswith(("comfy.", "nodes", "execution", "latent_preview")):
            continue
        for key, value in vars(module).items():
            if callable(value):
                found[f"{name}.{key}"] = id(value)
                if isinstance(value, type) and value.__module__ == name:
                    found.update({f"{name}.{key}.{k}": id(v) for k, v in vars(value).items() if callable(v)})
    return found


def test_nothing_of_the_host_is_replaced(models, panorama, windows, guidance):
    before = host_functions()
    panorama(models["eps"], windows(64, 32), guidance=guidance(weight=200.0, end_percent=1.0), steps=2)
    after = host_functions()
    assert {key: after[key] for key in before} == before


def tensors() -> tuple[int, int]:
    """How many are alive, and the bytes that they hold."""
    gc.collect()
    plain = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    alive = [each for each in plain if not torch._is_functional_tensor(each)]  # torch.compile leaves some of its own
    held = {storage.data_ptr(): storage.nbytes() for storage in (each.untyped_storage() for each in alive)}
    return len(alive), sum(held.values())


def grew(before: tuple[int, int]) -> bool:
    """Whether more is alive than before, by over two tensors or 32 KiB; a canvas of each of twenty runs takes 60."""
    (count, size), (first, least) = tensors(), before
    return count > first + 2 or size > least + 2**15


@pytest.mark.usefixtures("living_models")
def test_running_twenty_times_leaves_nothing(models, panorama, windows, guidance, small, run_node):
    """Guided, with a ControlNet: no tensor more, and no memory that grows from run to run."""
    roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
    hint = torch.rand(1, 64, 192, 3, generator=torch.manual_seed(1))
    outs = run_node("ControlNetApplyAdvanced", **roles, control_net=small.control_net(), image=hint)
    conds = dict(zip(roles, outs, strict=True))
    process, resident = psutil.Process(), []

    def run():
        guide = guidance(weight=200.0, end_percent=1.0)
        panorama(models["eps"], windows(64, 64), guidance=guide, steps=1, **conds)

    run()
    before = tensors()
    for _ in range(20):
        run()
        resident.append(process.memory_info().rss / 2**20)
    assert not grew(before)
    # And of what Python does not see, in MB over ten runs, each of which takes about 100 for itself. The least of five,
    # for an allocator gives back when it likes.
    assert min(resident[-5:]) - min(resident[5:10]) < 30


@pytest.fixture
def everything(small, run_node, vae) -> dict:
    """Inputs of a sampler with all that is cut, blended and kept for a run: ControlNet, region, masks, a batch of 2."""
    roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
    hint = torch.rand(1, 64, 192, 3, generator=torch.manual_seed(1))
    controlled = run_node("ControlNetApplyAdvanced", **roles, control_net=small.control_net(), image=hint)
    box = {"bboxes": {"x": 64, "y": 16, "width": 72, "height": 40}, "width": 192, "height": 64}
    region = {"conditioning": controlled[0], "region": small.conditioning(5), "vae": vae, "bootstrap": 1.0}
    mask = torch.rand(2, 37, 101, generator=torch.manual_seed(2))
    return {
        "positive": run_node("SyncDiffusionRegionPrompts", **region, **box)[0],
        "negative": controlled[1],
        "latent_image": {"samples": torch.randn(2, 4, 8, 24, generator=torch.manual_seed(3)), "noise_mask": mask},
    }


def contents(thing: object) -> object:
    """All values of nested lists, dictionaries, and of a control's own attributes."""
    if isinstance(thing, torch.Tensor):
        return thing.tolist()
    if isinstance(thing, dict):
        return {key: contents(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [contents(value) for value in thing]
    return contents(vars(thing)) if type(thing).__module__ == "comfy.controlnet" else repr(thing)


@pytest.mark.usefixtures("living_models")
def test_what_a_run_is_given_stays_and_what_it_made_goes(
    models, everything, panorama, ksampler, windows, guidance, run_node
):
    """By guided windows, by sequential ones and by Apply Windows."""
    layout, mask = windows(64, 64), torch.rand(2, 13, 29, generator=torch.manual_seed(4))
    guide = guidance(weight=200.0, end_percent=1.0, mask=mask)

    def run():
        panorama(models["eps"], layout, guidance=guide, steps=1, **everything)
        panorama(models["eps"], layout, algorithm="sequential (Blended Latent Diffusion)", steps=1, **everything)
        applied = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=layout)[0]
        ksampler(applied, steps=1, **everything)

    before = contents([everything, mask])
    run()
    first = tensors()
    for _ in range(3):
        run()
    assert not grew(first)
    assert contents([everything, mask]) == before


def test_a_windowed_clone_dies_with_its_graph(models, windows, run_node):
    clone = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=windows(64, 32))[0]
    gone = weakref.ref(clone)
    del clone
    gc.collect()
    assert gone() is None


def test_importing_the_pack_is_quick_and_leaves_lpips_out(host, tmp_path):
    """The second time, as on every start but the first: with its bytecode kept, whatever the tests' own setting."""
    code = f"""
import sys, time, asyncio
sys.path.insert(0, {str(host.folder)!r})
from comfy.cli_args import args
args.cpu = True
args.base_directory = {str(host.base)!r}
import nodes, server  # as the host's main has them before custom nodes
from comfy_config import config_parser  # what the first pack of any folder with a pyproject.toml pays for
sys.dont_write_bytecode, sys.pycache_prefix = False, {str(tmp_path)!r}
started = time.process_time()
assert asyncio.run(nodes.load_custom_node({str(PACK_ROOT)!r}))
print(time.process_time() - started, "lpips" in sys.modules)
"""
    best = 1e9
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, with_lpips = done.stdout.split()[-2:]
        best = min(best, float(seconds))
        assert with_lpips == "False"
    assert best < 0.5


@pytest.mark.parametrize("guided", [False, True])
def test_a_run_lets_go_of_the_model_at_once(models, panorama, windows, guidance, guided):
    """Without waiting for the garbage collector: the host's list of loaded models falls back on the user's own."""
    import comfy.model_management

    model = models["eps"].clone()
    gc.collect()
    gc.disable()
    try:
        panorama(model, windows(64, 64), steps=2, guidance=guidance(end_percent=1.0) if guided else None)
        loaded = [entry.model for entry in comfy.model_management.current_loaded_models]
    finally:
        gc.enable()
    assert any(entry is model for entry in loaded)
