"""Stage `control`: a ControlNet that puts the skyline where a mask has it, on the frozen demo model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .captions import captions_of
from .controlnet import ControlNet, patches
from .dataset import Windows, labels_of
from .export import WEIGHTS, half, save_atomically
from .horizon import drawn, hint_of
from .loop import CACHE, Plan, Trainer, in_half
from .pipeline import DemoModel, load_demo
from .schedule import STEPS
from .train_unet import noised

FILE = WEIGHTS / "horizon_control.safetensors"
BATCH = 32
EMPTY_PROMPTS = 0.25
"""More than the UNet's: without words the hint has to say where the land is."""
EARLY_SHARE, EARLY_FROM = 0.4, 400
"""Part of the batch from the noisy timesteps alone, where the layout of a picture is decided."""


@torch.no_grad()
def _encoded(model: DemoModel, path: Path, windows: Windows, count: int) -> dict[str, torch.Tensor]:
    """Latents [count, 4, 16, 16] fp16 of random windows, their skylines [count, 128] and strips; made once."""
    if path.exists():
        return torch.load(path, weights_only=True)
    parts = []
    with in_half():
        for _ in range(count // 100):
            images, skylines, index = windows.sample_skylines(100)
            latents = model.encode_image((images + 1) / 2).float().half()
            parts.append((latents, skylines.half(), torch.from_numpy(index)))
    cached = dict(zip(("latents", "skylines", "index"), (torch.cat(p) for p in zip(*parts, strict=True)), strict=True))
    torch.save(cached, path)
    return cached


class HintedBatches:
    """Random encoded windows with fresh captions and freshly drawn hints."""

    def __init__(self, model: DemoModel, directory: Path, seed: int, count: int):
        windows = Windows(directory / "scenes.npy", seed=81)
        self.cover = windows.cover
        self.cached = _encoded(model, directory / "control_latents.pt", windows, count)
        self.rng, self.tokenizer = np.random.default_rng(seed), model.tokenizer

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x0 [count, 4, 16, 16], token ids [count, length] and hints [count, 3, 128, 128]."""
        rows = self.rng.integers(0, len(self.cached["index"]), count)
        strips = self.cached["index"][rows].numpy()
        texts = captions_of(self.rng, *labels_of(strips), self.cover[strips])
        texts = ["" if self.rng.random() < EMPTY_PROMPTS else text for text in texts]
        skylines = [drawn(self.rng, s) for s in self.cached["skylines"][rows].float().numpy()]
        hints = hint_of(torch.from_numpy(np.stack(skylines)).float()).contiguous()
        return self.cached["latents"][rows].float(), self.tokenizer.batch(texts), hints


def start_from(unet: nn.Module) -> ControlNet:
    """A ControlNet whose encoder is the UNet's."""
    control = ControlNet()
    own = control.state_dict()
    control.load_state_dict({**own, **{k: v for k, v in unet.state_dict().items() if k in own}})
    control.start_as_patches()
    return control


def _timesteps(count: int) -> torch.Tensor:
    early = int(EARLY_SHARE * count)
    return torch.cat([torch.randint(EARLY_FROM, STEPS, (early,)), torch.randint(0, STEPS, (count - early,))])


def _v_loss(control: ControlNet, unet: nn.Module, x_t, t, context, cells, v) -> torch.Tensor:
    with in_half():
        predicted = unet(x_t, t, context, control.residuals(x_t, control.features(cells), t, context))
    return F.mse_loss(predicted.float(), v)


def _export(trainer: Trainer) -> None:
    metadata = {
        "format": "syncdiffusion-demo-control",
        "hint": "white land below the skyline, black sky above it",
        "training": trainer.account(BATCH, "loss_v"),
    }
    save_atomically(half(trainer.ema), FILE, metadata)


def train_control(minutes: float = 14.0, count: int = 8_000, directory: Path = CACHE) -> None:
    """Plain v loss; a usable file is exported all along. The shipped one took 35 minutes of a third of two cores."""
    torch.manual_seed(0)
    model = load_demo()
    plan = Plan("control", minutes, lr=6e-4, ema=0.998, weight_decay=0.01, checkpoint_seconds=150)
    trainer = Trainer(plan, start_from(model.unet), directory)
    batches = HintedBatches(model, directory, 80 + trainer.step, count)

    def loss_of(progress: float) -> torch.Tensor:
        x0, ids, hint = batches.sample(BATCH)
        t, eps = _timesteps(BATCH), torch.randn_like(x0)
        with torch.no_grad():
            context = model.text(ids)
        return _v_loss(trainer.model, model.unet, noised(x0, t, eps), t, context, patches(hint), noised(eps, t, -x0))

    trainer.run(loss_of, lambda: _export(trainer))
