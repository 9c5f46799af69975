"""The GPU check in a real host, on a processor; and its transcription against the pack's own loop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_small_check_measures_and_reports(tmp_path, host):
    command = [sys.executable, "-m", "bench.gpu", "--small", "--minutes", "30", "--out", str(tmp_path)]
    env = {**os.environ, "COMFYUI_PATH": str(host.folder), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    [text], [data] = tmp_path.glob("*_small.md"), tmp_path.glob("*_small.json")
    assert text.read_text() in done.stdout
    costs, batches, short, streamed, previews, determinism, dynamic = json.loads(data.read_text())["sections"]
    failed = [row.get("failed") for each in (costs, batches, previews, determinism) for row in each["rows"]]
    assert failed == [None] * (5 + 3 + 1 + 3)
    assert [row["failed"] for each in (short, streamed, dynamic) for row in each["rows"]] == ["needs CUDA"] * 3
    plain, reference, *_, straight = costs["rows"]
    assert plain["guided step, s"] is None
    assert reference["guided step, s"] > reference["plain step, s"] > 0
    assert straight["guided step, s"] > straight["plain step, s"] > 0
    assert reference["used, GiB"] > plain["used, GiB"] > 0
    assert [row["values changed, %"] for row in costs["rows"]] == [0.0] * 5
    assert [row["of values up to"] > 1e3 * row["largest difference"] for row in batches["rows"]] == [True] * 3
    assert [row["pictures"] for row in previews["rows"]] == [6]
    assert "windows a call" in plain["announced"]


@pytest.mark.parametrize("guided", [0, 1, 2])
def test_the_transcription_is_the_packs_reference_algorithm(
    guided, host, models, vae, perceptual, small, run_node, panorama, windows, guidance
):
    """Of Stable Diffusion's kind of model: the same canvas after two steps, so many of them guided by the paper's w."""
    from bench.gpu_nodes import STRAIGHT, register

    register()
    shared = {"positive": small.conditioning(1), "negative": small.conditioning(2), "cfg": 4.0, "seed": 3, "steps": 2}
    shared |= {"model": models["eps"], "latent_image": small.empty_latent(192, 64)}
    straight, trace = run_node(
        STRAIGHT, **shared, vae=vae, perceptual_model=perceptual, window=8, stride=4, guided=guided
    )
    paper = {"schedule": "index", "decay": 1.0, "end_percent": guided / 2, "max_move": 0.0}
    rules = {"algorithm": "reference (Algorithm 1)", "sampler_name": "ddim", "scheduler": "ddim_uniform"}
    own = panorama(**shared, layout=windows(64, 32), **rules, guidance=guidance(weight=20.0, **paper))[0]["samples"]
    assert len(trace.splitlines()) == guided
    assert (straight["samples"] - own).abs().max() <= 1e-4 * own.abs().max()


@pytest.mark.parametrize(("name", "millions"), [("sd15", 860), ("sdxl", 2567), ("flux", 11901)])
def test_shapes_are_the_real_models(name, millions, host):
    """By the number of their parameters, on no device."""
    import comfy.ldm.models.autoencoder
    import comfy.supported_models
    import torch

    from bench.shape_kinds import SHAPES

    shape = SHAPES[name]
    config = getattr(comfy.supported_models, shape.family)({**shape.unet, "dtype": torch.float16})
    network = config.get_model({}, device="meta").diffusion_model
    assert round(sum(weight.numel() for weight in network.parameters()) / 1e6) == millions
    with torch.device("meta"):
        vae = comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=shape.vae, embed_dim=shape.vae["z_channels"])
    assert sum(weight.numel() for weight in vae.parameters()) == pytest.approx(83.7e6, rel=0.01)
