"""The training loop of every stage: a budget of minutes, EMA, warm-up and cosine, checkpoints that resume."""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

CACHE = Path.home() / ".cache" / "syncdiffusion-demo"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""For the stages that can use one; the others are made for processors."""


@dataclass(frozen=True)
class Plan:
    """What one stage may spend; lr is the peak learning rate."""

    name: str
    minutes: float
    lr: float
    ema: float = 0.998
    weight_decay: float = 0.0
    warmup_steps: int = 150
    checkpoint_seconds: float = 90.0


class Trainer:
    """Trains `model` for plan.minutes of wall clock; progress in [0, 1] is time spent: it fits any machine."""

    def __init__(self, plan: Plan, model: nn.Module, directory: Path = CACHE):
        self.plan, self.model, self.path = plan, model, directory / f"{plan.name}.pt"
        self.ema = copy.deepcopy(model).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            model.parameters(), plan.lr, (0.9, 0.99), weight_decay=plan.weight_decay, fused=True
        )
        self.step, self.seconds, self.losses = 0, 0.0, []
        if self.path.exists():
            self._load()

    @property
    def progress(self) -> float:
        return min(1.0, self.seconds / (60 * self.plan.minutes))

    def run(self, loss_of: Callable[[float], torch.Tensor], on_checkpoint: Callable[[], None] | None = None) -> None:
        """loss_of(progress) draws its own batch; on_checkpoint sees self.ema."""
        last_saved = time.monotonic()
        while self.progress < 1:
            begin = time.monotonic()
            self._update(loss_of(self.progress))
            self.seconds += time.monotonic() - begin
            if time.monotonic() - last_saved > self.plan.checkpoint_seconds:
                self._checkpoint(on_checkpoint)
                last_saved = time.monotonic()
        self._checkpoint(on_checkpoint)

    def account(self, batch: int, loss: str = "loss", recent: int = 500, **more: object) -> str:
        """How the weights came about, as JSON for a file's metadata. loss: under which name; recent: steps it is of."""
        losses = self.losses[-recent:]
        facts = {
            "steps": self.step,
            "minutes": round(self.seconds / 60, 1),
            "batch": batch,
            loss: sum(losses) / max(len(losses), 1),
            "lr": self.plan.lr,
            "ema": self.plan.ema,
        }
        return json.dumps({**facts, **more})

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / self.plan.warmup_steps)
        return self.plan.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))

    def _update(self, loss: torch.Tensor) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.losses.append(float(loss.detach()))
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1 - decay)

    def _checkpoint(self, on_checkpoint: Callable[[], None] | None) -> None:
        recent = self.losses[-200:]
        print(
            f"{self.plan.name} step {self.step} {self.seconds / 60:.1f} min loss {sum(recent) / len(recent):.4f} "
            f"{self.seconds / self.step:.3f} s/step",
            flush=True,
        )
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "step": self.step,
            "optimiser": self.optimiser.state_dict(),
            "seconds": self.seconds,
            "losses": self.losses,
        }
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").rename(self.path)
        if on_checkpoint:
            on_checkpoint()

    def _load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]


def in_half(device: str = "cpu") -> torch.autocast:
    """bfloat16 where the device computes in it; processors without AVX-512 imitate it, 30 times slower than float32."""
    enabled = device != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()
    return torch.autocast(device, torch.bfloat16, enabled=enabled)


def compiled(function: Callable) -> Callable:
    """Compile for each shape where a C++ compiler is at hand (2 to 3 times as fast), else run it as it is."""
    has_compiler = any(shutil.which(name) for name in ("g++", "clang++", "cl"))
    return torch.compile(function, dynamic=False) if has_compiler else function


def load_average(model: nn.Module, name: str, directory: Path = CACHE) -> nn.Module:
    """The averaged weights of a trained stage, frozen."""
    model.load_state_dict(torch.load(directory / f"{name}.pt", weights_only=True)["ema"])
    return model.eval().requires_grad_(False)


def save_pictures(path: Path, rows: list[torch.Tensor]) -> None:
    """Rows of images [N, 3, H, W] in [-1, 1] as one PNG, for eyes."""
    from PIL import Image

    sheet = torch.cat([torch.cat(list(row.float()), dim=-1) for row in rows], dim=-2)
    pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(path)
