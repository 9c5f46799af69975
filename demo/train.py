"""Train the whole demo model: `python -m demo.train`, or single stages, from the root of the pack.

Everything that is not yet in the cache is made; a stage that was interrupted resumes. Some five hours on two cores,
two of them for objects; a finished stage is trained anew once its file in the cache is deleted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from .dataset import HELD_OUT_SEED, draw_cache, skylines_of
from .loop import CACHE
from .train_around import draw_globes, train_around, train_around_judge
from .train_control import train_control
from .train_light import train_light
from .train_light_encoder import train_light_encoder
from .train_objects import draw_solids, train_objects, train_objects_judge
from .train_perceptual import train_guide, train_judge
from .train_skyline import train_skyline
from .train_unet import cache_latents, finish_unet, train_unet
from .train_vae import train_vae

STRIPS, HELD_OUT_STRIPS = 12_500, 500


def draw_scenes() -> None:
    """Training strips and held-out ones."""
    for name, count, first in (("scenes", STRIPS, 0), ("held_out", HELD_OUT_STRIPS, HELD_OUT_SEED)):
        path = CACHE / f"{name}.npy"
        if not (path.exists() and skylines_of(path).exists()):
            draw_cache(path, count, first)


def encode_latents() -> None:
    """Once: they must not change under a UNet that is being trained."""
    if not (CACHE / "latents.pt").exists():
        cache_latents()


STAGES: dict[str, Callable[[], None]] = {
    "scenes": draw_scenes,
    "vae": train_vae,
    "latents": encode_latents,
    "unet": train_unet,
    "export": finish_unet,
    "perceptual": train_guide,
    "judge": train_judge,
    "control": train_control,
    "light": train_light,
    "skyline": train_skyline,
    "globes": draw_globes,
    "light_encoder": train_light_encoder,
    "around": train_around,
    "around_judge": train_around_judge,
    "solids": draw_solids,
    "objects": train_objects,
    "objects_judge": train_objects_judge,
}


def main() -> None:
    """Run the stages named on the command line, or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="stage", help=f"one or more of: {', '.join(STAGES)}")
    stages = parser.parse_args().stages or list(STAGES)
    if unknown := [stage for stage in stages if stage not in STAGES]:
        parser.error(f"unknown stage {', '.join(unknown)}; choose from {', '.join(STAGES)}")
    CACHE.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    for stage in stages:
        print(f"== {stage}", flush=True)
        STAGES[stage]()


if __name__ == "__main__":
    main()
