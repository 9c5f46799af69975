"""A drawn scene, continued by the demo model on both sides: the windows around it take on its time of day."""

import pytest
import torch

from demo.judge import load_judge, times_of_day
from demo.palettes import TIMES
from demo.scenes import render

SIDE, WIDTH = 128, 640  # pixels; the scene in the middle of five places
SCENES = [(900_001, "sunset", "lake"), (900_002, "night", "mountains"), (900_003, "noon", "desert")]


@pytest.fixture(scope="module")
def demo(host, pack):
    names = ("model", "clip", "vae")
    loaded = dict(zip(names, host.run_node("SyncDiffusionLoadDemoModel")[:3], strict=True))
    perceptual = host.run_node("SyncDiffusionLoadPerceptualModel", perceptual_name="scene (built in)")[0]
    return {**loaded, "perceptual": perceptual}


@pytest.fixture
def continued(run_node, demo, windows):
    """continued(scene, place, guided) -> (drawn picture, panorama), both [1, H, W, 3], by stock nodes and ours."""

    def run(scene, place, **sampler):
        drawn = torch.from_numpy(render(*scene, width=SIDE)).float()[None] / 255
        sides = (WIDTH - SIDE) // 2
        padded, mask = run_node(
            "ImagePadForOutpaint", image=drawn, left=sides, right=sides, top=0, bottom=0, feathering=24
        )
        latent = run_node("VAEEncode", pixels=padded, vae=demo["vae"])[0]
        latent = run_node("SetLatentNoiseMask", samples=latent, mask=mask)[0]
        prompt, empty = (run_node("CLIPTextEncode", clip=demo["clip"], text=text)[0] for text in (place, ""))
        samples = run_node(
            "SyncDiffusionPanoramaSampler",
            model=demo["model"],
            windows=windows(SIDE, 64, height=SIDE, blend="feathered"),
            positive=prompt,
            negative=empty,
            latent_image=latent,
            **{"seed": 3, "steps": 20, "cfg": 7.5, "sampler_name": "ddim", "scheduler": "normal", **sampler},
        )[0]
        return drawn, run_node("VAEDecode", samples=samples, vae=demo["vae"])[0]

    return run


def test_what_is_around_a_photograph_takes_on_its_light(continued, run_node, demo):
    """The prompt names the place only; without guidance the model paints any time of day around it."""
    guidance = run_node(
        "SyncDiffusionGuidance",
        vae=demo["vae"],
        perceptual_model=demo["perceptual"],
        weight=10.0,
        end_percent=0.3,
        gradient="image prior (Wiener)",
    )[0]
    judge, agreed = load_judge(), {"guided": 0, "free": 0}
    for scene in SCENES:
        for name, run in (("guided", {"guidance": guidance}), ("free", {})):
            drawn, panorama = continued(scene, scene[2], **run)
            middle = panorama[:, :, 2 * SIDE : 3 * SIDE]
            assert (middle - drawn)[:, :, 32:-32].abs().mean() < 0.06, "the drawing was not kept"
            tiles = panorama.movedim(-1, 1).unflatten(-1, (-1, SIDE))[0].movedim(2, 0)  # [5, 3, H, SIDE]
            around = times_of_day(judge, tiles[[0, 1, 3, 4]])
            agreed[name] += int((around == TIMES.index(scene[1])).sum())
    assert agreed["guided"] >= 11, "of twelve places around three drawings"
    assert agreed["free"] <= 8
