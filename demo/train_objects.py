"""Stages `solids`, `objects` and `objects_judge`: the demo model learns to paint objects, and where their depth is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .controlnet import ControlNet, patches
from .export import half, save_atomically
from .loop import CACHE, DEVICE, Plan, Trainer, in_half, save_pictures
from .low_rank import tensors_of
from .object_captions import caption_object
from .objects import CONTROL_FILE, OBJECTS
from .pipeline import DemoModel, load_demo, load_objects
from .schedule import STEPS
from .solid_views import COLOURS, FIRST_SEED, HELD_OUT_SEED, MATERIALS, draw_views, kind_of, labels_of, read_views
from .tokenizer import Tokenizer
from .train_around import JUDGE, latents_of
from .train_control import start_from
from .train_perceptual import Labelled, Lessons, Naming, rebuilt, train_scorer
from .train_unet import EMPTY_PROMPTS, noised, preview

BATCH = 128 if DEVICE == "cuda" else 32
HINTED = 0.65
"""Share of a batch that is shown the depth; the model paints without it, too."""
KINDS = Naming(("material", "colour"), labels_of)
OBJECTS_JUDGE = {**JUDGE, "classes": [len(MATERIALS), len(COLOURS)]}
PREVIEWS = (
    "red brick vase",
    "wooden chair",
    "a blue sphere of metal",
    "mossy arch",
    "yellow cloth cube, side view",
)


def draw_solids(solids: int = 1500, held_out: int = 108, directory: Path = CACHE) -> None:
    """Views to learn from and to test on, once."""
    for name, count, first in (("solids", solids, FIRST_SEED), ("held_out_solids", held_out, HELD_OUT_SEED)):
        if not (path := directory / f"{name}.pt").exists():
            draw_views(path, count, first)


def encode_solids(directory: Path = CACHE) -> Path:
    """Latents of all views, once."""
    path = directory / "objects_latents.pt"
    if not path.exists():
        torch.save(latents_of(read_views(directory / "solids.pt").images), path)
    return path


class Lesson(NamedTuple):
    """x0 [N, 4, 16, 16], token ids [N, length], and the hints of the first rows [n <= N, 3, 128, 128] in [0, 1]."""

    x0: torch.Tensor
    ids: torch.Tensor
    hints: torch.Tensor


class ObjectBatches:
    """Random encoded views with fresh captions, and their hints."""

    def __init__(self, directory: Path, seed: int):
        self.latents = torch.load(encode_solids(directory), weights_only=True)
        self.views = read_views(directory / "solids.pt")
        self.sides, self.rng = self.views.sides, np.random.default_rng(seed)
        self.tokenizer = Tokenizer(tuple(OBJECTS.vocabulary))

    def sample(self, count: int) -> Lesson:
        """So many views, HINTED of them with a hint; some prompts are empty."""
        rows = self.rng.integers(0, len(self.latents), count)
        texts = [caption_object(self.rng, kind_of(self.views.index[row]), self.sides[row]) for row in rows]
        texts = ["" if self.rng.random() < EMPTY_PROMPTS else text for text in texts]
        numbers = torch.from_numpy(rows)
        hints = hints_in(self.views.hints[numbers[: int(HINTED * count)]])
        lesson = Lesson(self.latents[numbers].float(), self.tokenizer.batch(texts), hints)
        return Lesson(*(part.to(DEVICE) for part in lesson))


def hints_in(hints: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 128, 128] -> [N, 3, 128, 128] in [0, 1], as an IMAGE gives them to a ControlNet."""
    return (hints.float() / 255)[:, None].expand(-1, 3, -1, -1)


def started(model: DemoModel) -> nn.ModuleDict:
    """UNet, text encoder and ControlNet to train, all from the model of landscapes; its parts are changed in place."""
    control = start_from(model.unet)
    networks = OBJECTS.started(model.unet, model.text)
    networks["control"] = control
    return networks.to(DEVICE)


def v_loss(networks: nn.ModuleDict, lesson: Lesson, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """Plain v loss at timesteps t [N]; rows without a hint do without the ControlNet."""
    x_t, v = noised(lesson.x0, t, eps), noised(eps, t, -lesson.x0)
    with in_half(DEVICE):
        context = networks["text"](lesson.ids)
        cells, shown = patches(lesson.hints), len(lesson.hints)
        predicted = networks["unet"](x_t, t, context, _residuals(networks["control"], x_t, cells, t, context, shown))
    return F.mse_loss(predicted.float(), v)


def _residuals(control: ControlNet, x_t, cells, t, context, shown: int) -> list[torch.Tensor]:
    """Of the rows that are shown a hint; 0 for the others."""
    residuals = control.residuals(x_t[:shown], control.features(cells), t[:shown], context[:shown])
    return [F.pad(part, (0, 0, 0, 0, 0, 0, 0, len(x_t) - shown)) for part in residuals]


class Hinted(nn.Module):
    """The UNet and its ControlNet as one: row n of a batch is shown hint n, or n modulo their number."""

    def __init__(self, unet: nn.Module, control: ControlNet, hints: torch.Tensor):
        super().__init__()
        self.unet, self.control, self.hints = unet, control, hints

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        hints = self.hints.repeat(len(x) // len(self.hints), 1, 1, 1)
        return self.unet(x, t, context, self.control(x, hints, t, context))


def _export(trainer: Trainer, directory: Path) -> None:
    account = trainer.account(BATCH, "loss_v", device=DEVICE, hinted=HINTED)
    metadata = {"format": "syncdiffusion-demo-objects", "training": account}
    save_atomically(tensors_of(trainer.ema), OBJECTS.file, metadata)
    depth = "disparity of an object, near white, in one range for all of its views; black beside it"
    metadata = {"format": "syncdiffusion-demo-control", "hint": depth, "training": account}
    control = {name: value.cpu() for name, value in half(trainer.ema["control"]).items()}
    save_atomically(control, CONTROL_FILE, metadata)
    save_pictures(directory / "objects.png", _previews(directory, control))


def _previews(directory: Path, control: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Rows of pictures: held-out views, their hints, what is painted on the hints, what is painted without."""
    model, net = load_objects(), ControlNet()
    net.load_state_dict({name: value.float() for name, value in control.items()})
    views = read_views(directory / "held_out_solids.pt")
    rows = torch.linspace(0, len(views.images) - 1, len(PREVIEWS)).long()
    hints = hints_in(views.hints[rows])
    hinted = replace(model, unet=Hinted(model.unet, net.eval(), hints))
    return [views.images[rows] / 127.5 - 1, hints * 2 - 1, preview(hinted, PREVIEWS), preview(model, PREVIEWS)]


def train_objects(minutes: float = 85.0, directory: Path = CACHE) -> None:
    """Plain v loss, uniform timesteps; usable files are exported all along."""
    torch.manual_seed(0)
    plan = Plan("objects", minutes, lr=6e-4, ema=0.998, weight_decay=0.01, checkpoint_seconds=150)
    trainer = Trainer(plan, started(load_demo()), directory)
    batches = ObjectBatches(directory, 100 + trainer.step)

    def loss_of(progress: float) -> torch.Tensor:
        lesson = batches.sample(BATCH)
        t = torch.randint(0, STEPS, (BATCH,)).to(DEVICE)
        return v_loss(trainer.model, lesson, t, torch.randn_like(lesson.x0))

    trainer.run(loss_of, lambda: _export(trainer, directory))


def train_objects_judge(minutes: float = 6.0, count: int = 2000, directory: Path = CACHE) -> None:
    """The net that says of what and of which colour an object is, in any view."""
    model = load_demo()
    learnt, unseen = (_labelled(directory / f"{name}.pt") for name in ("solids", "held_out_solids"))
    tests = {"renders": unseen, "reconstructions": rebuilt(model, unseen, 500)}
    lessons = Lessons(rebuilt(model, learnt, count), lambda size: learnt, tests, KINDS)
    train_scorer("objects_judge", OBJECTS_JUDGE, minutes, (18, 75), lessons, directory)


def _labelled(path: Path) -> Labelled:
    views = read_views(path)
    return Labelled(views.images, views.index)
