"""The networks that see the crops: Inception and CLIP from the user's files, the demo world's own from the pack.

Nothing is downloaded: a missing file is an error that says which one to get and where to put it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from demo.captions import BIOME_WORDS, TIME_WORDS
from demo.judge import label_probabilities, load_judge
from demo.palettes import BIOMES, TIMES
from demo.tokenizer import Tokenizer
from syncdiffusion_core.metrics.clip_score import clip_score

INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_SOURCE = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/" + INCEPTION_FILE
CLIP_SOURCE = "https://huggingface.co/openai/clip-vit-base-patch16"
CLIP_FILES = ("config.json", "preprocessor_config.json", "tokenizer_config.json")
CLIP_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class FeatureNetwork(Protocol):
    """What GIQA, the Frechet and the kernel distance compare images by."""

    def embed(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [0, 1] -> features [N, D], one row an image."""
        ...


class CaptionScorer(Protocol):
    """How well images fit their prompts."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Images [N, 3, H, W] in [0, 1], N prompts or one for all -> [N] in [0, 100], higher is better."""
        ...


class InceptionFeatures:
    """Features of the FID Inception network, [N, 2048], as clean-fid computes them from picture files.

    Resized to 299x299 by its antialiased bicubic filter (Parmar et al., On Aliased Resizing, CVPR 2022).
    file: inception-2015-12-05.pt or the folder that holds it.
    """

    def __init__(self, file: Path, device: str = "cpu") -> None:
        path = file / INCEPTION_FILE if file.is_dir() else file
        if not path.is_file() or path.name != INCEPTION_FILE:
            raise FileNotFoundError(f"no {INCEPTION_FILE} at {path}: download it from {INCEPTION_SOURCE} to there")
        from cleanfid.inception_torchscript import InceptionV3W
        from cleanfid.resize import build_resizer

        self.device, self.file = device, path
        self._network = InceptionV3W(str(path.parent), download=False).eval().to(device)
        self._resize = build_resizer("clean")

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [0, 1] -> [N, 2048]."""
        resized = [torch.from_numpy(self._resize(picture)).permute(2, 0, 1) for picture in _bytes(images)]
        return self._network(torch.stack(resized).to(self.device)).cpu()


def clip_files(folder: Path) -> list[Path]:
    """The files that a CLIP model in a folder is made of: weights, settings, words."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".json", ".txt"))


class ClipFeatures:
    """Projected features of a CLIP model of transformers in a local folder; the paper's is ViT-B/16."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        missing = [name for name in CLIP_FILES if not (folder / name).is_file()]
        if not any((folder / name).is_file() for name in CLIP_WEIGHTS):
            missing.append(" or ".join(CLIP_WEIGHTS))
        if missing:
            raise FileNotFoundError(
                f"no CLIP model in {folder}: {', '.join(missing)} missing; download all files of {CLIP_SOURCE} to there"
            )
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

        self.device = device
        self._network = CLIPModel.from_pretrained(folder, local_files_only=True).eval().to(device)
        self._pictures = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        self._words = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [0, 1] -> [N, D]."""
        pictures = [Image.fromarray(picture) for picture in _bytes(images)]
        inputs = self._pictures(images=pictures, return_tensors="pt").to(self.device)
        return _projected(self._network.get_image_features(**inputs)).cpu()

    @torch.no_grad()
    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """[N, D]; what is longer than the model reads is cut off."""
        length = self._network.config.text_config.max_position_embeddings
        inputs = self._words(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        inputs = {name: inputs[name].to(self.device) for name in ("input_ids", "attention_mask")}
        return _projected(self._network.get_text_features(**inputs)).cpu()

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """CLIP score of each image with its prompt, or with the one prompt of all: see ``clip_score``."""
        return clip_score(self.embed(images), self.embed_text(prompts))


class DemoFeatures:
    """The judge's embedding of the demo world's pictures, [N, D] with the judge's D; H and W divisible by 16."""

    def __init__(self) -> None:
        self._judge = load_judge()

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [0, 1] -> [N, D]."""
        return self._judge.embedding(images)


class DemoCaptionScore:
    """The demo world's stand-in for CLIP score: does the judge see what the prompt names?

    The judge's probability of each time of day and each place that the prompt names, their mean times 100.
    No unit, in [0, 100], 20 for a judge that guesses; higher is better. Source: own.
    """

    def __init__(self) -> None:
        self._judge = load_judge()

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Images [N, 3, H, W] in [0, 1], N prompts or one for all -> [N]."""
        if len(prompts) not in (1, len(images)):
            raise ValueError(f"prompts has to hold one for each of {len(images)} images or one for all: {len(prompts)}")
        named = torch.stack([named_labels(prompt) for prompt in prompts])  # [N or 1, 10]
        probabilities = torch.cat(label_probabilities(self._judge, images), dim=1)
        return 100 * (probabilities * named).sum(dim=1) / named.sum(dim=1)


def named_labels(prompt: str) -> Tensor:
    """1 where the prompt names a time of day (the first 5, as TIMES) or a place (the last 5, as BIOMES): [10]."""
    words = set(Tokenizer().words(prompt))
    synonyms = [TIME_WORDS[time] for time in TIMES] + [BIOME_WORDS[biome] for biome in BIOMES]
    named = torch.tensor([float(not words.isdisjoint(group)) for group in synonyms])
    if not named.any():
        known = ", ".join(word for group in synonyms for word in group)
        raise ValueError(f"the prompt has to name a time of day or a place, got {prompt!r}: use one of {known}")
    return named


def _bytes(images: Tensor) -> list:
    """[N, 3, H, W] in [0, 1] -> N arrays uint8 [H, W, 3], as a picture file would hold them."""
    return list((images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy())


def _projected(output: object) -> Tensor:
    """transformers 5 wraps the projected features, 4 returns them bare."""
    return getattr(output, "pooler_output", output)
