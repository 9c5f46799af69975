"""The networks that see the crops: random weights behind the same interfaces, and the demo world's own."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bench.judges import file_judges
from bench.networks import (
    INCEPTION_FILE,
    ClipFeatures,
    DemoCaptionScore,
    DemoFeatures,
    InceptionFeatures,
    named_labels,
)
from demo.captions import BIOME_WORDS, TIME_WORDS
from demo.judge import load_judge
from demo.palettes import BIOMES, TIMES
from demo.scenes import render
from syncdiffusion_core.metrics.frechet import frechet_distance
from syncdiffusion_core.metrics.giqa import giqa

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def pictures(count: int = 3, height: int = 40, width: int = 56) -> np.ndarray:
    """uint8 [N, H, W, 3], smooth enough for a resize to matter less than its filter."""
    small = np.random.default_rng(0).integers(0, 256, (count, 10, 14, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.BICUBIC)) for p in small])


def as_images(pixels: np.ndarray) -> torch.Tensor:
    """[N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


# Inception.


class SmallInception(nn.Module):
    """The interface of the file: ``layers`` takes [N, 3, 299, 299] around [-1, 1] and gives 2,048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 128, 7, stride=29), nn.AdaptiveAvgPool2d(4), nn.Flatten())

    def forward(self, x):
        return self.layers(x)


@pytest.fixture(scope="module")
def inception_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception")
    torch.manual_seed(0)
    torch.jit.script(SmallInception()).save(str(folder / INCEPTION_FILE))
    return folder


def test_inception_features_are_clean_fids_own_of_the_same_files(inception_folder, tmp_path):
    from cleanfid.fid import get_files_features
    from cleanfid.inception_torchscript import InceptionV3W

    pixels, files = pictures(), []
    for k, picture in enumerate(pixels):
        files.append(str(tmp_path / f"{k}.png"))
        Image.fromarray(picture).save(files[-1])
    network = InceptionV3W(str(inception_folder), download=False)
    expected = get_files_features(
        files, model=network, num_workers=0, device=torch.device("cpu"), mode="clean", verbose=False
    )
    got = InceptionFeatures(inception_folder / INCEPTION_FILE).embed(as_images(pixels))
    assert got.shape == (3, 2048)
    torch.testing.assert_close(got, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_inception_sees_pictures_as_pillow_resizes_them(inception_folder):
    """Each channel in float by Pillow's bicubic filter to 299x299, then (x - 128) / 128."""
    pixels = pictures(2)
    network, expected = torch.jit.load(str(inception_folder / INCEPTION_FILE)), []
    for picture in pixels:
        channels = [Image.fromarray(picture[..., c].astype(np.float32)) for c in range(3)]
        resized = np.stack([np.asarray(c.resize((299, 299), Image.Resampling.BICUBIC)) for c in channels])
        x = (torch.from_numpy(resized.clip(0, 255)) - 128) / 128
        with torch.no_grad():
            expected.append(network.layers(x[None])[0])
    got = InceptionFeatures(inception_folder).embed(as_images(pixels))
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["", INCEPTION_FILE, "inception.pt"])
def test_a_missing_inception_is_named_with_its_source(tmp_path, name):
    (tmp_path / "inception.pt").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="download it from https://nvlabs"):
        InceptionFeatures(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["inception.pt"]


# CLIP.

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def small_tokenizer_files(folder) -> None:
    """Letters, alone and at a word's end, and the two marks; no merges: every letter is a token."""
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: k for k, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    marks = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 16, **marks}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A random CLIP of 24 projected features, saved as transformers saves it."""
    transformers = pytest.importorskip("transformers", reason="comes with ComfyUI")
    folder = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"vocab_size": 54, "max_position_embeddings": 16, "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = transformers.CLIPConfig(
        text_config={**sizes, **ends},
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side).save_pretrained(folder)
    small_tokenizer_files(folder)
    return folder


def test_clip_embeds_pictures_and_prompts(clip_folder):
    network = ClipFeatures(clip_folder)
    images, words = network.embed(as_images(pictures(3))), network.embed_text(["a lake", "night", "a" * 40])
    assert images.shape == words.shape == (3, 24)
    torch.testing.assert_close(network.embed(as_images(pictures(3)[1:2])), images[1:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.embed_text(["night"]), words[1:2], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(words[0], words[1])


def test_clip_scores_are_the_models_own_logits(clip_folder):
    """CLIPModel's forward gives cosines times exp(logit_scale), picture by prompt."""
    import transformers

    network, pixels, prompts = ClipFeatures(clip_folder), pictures(3), ["a lake", "night", "desert at dawn"]
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    pixel_values = transformers.CLIPImageProcessor.from_pretrained(clip_folder)(
        images=[Image.fromarray(picture) for picture in pixels], return_tensors="pt"
    )["pixel_values"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
    words = tokenizer(prompts, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        logits = model(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"], pixel_values=pixel_values
        ).logits_per_image
        cosines = logits / model.logit_scale.exp()
    expected = 100 * cosines.clamp(min=0)
    got = network.score(as_images(pixels), prompts)
    torch.testing.assert_close(got, expected.diagonal(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.score(as_images(pixels), prompts[:1]), expected[:, 0], rtol=1e-4, atol=1e-4)


def test_scores_by_another_clip_of_the_same_size_have_another_name(clip_folder, tmp_path):
    other = shutil.copytree(clip_folder, tmp_path / "clip")
    (other / "README.md").write_text("nothing that scores")
    names = [file_judges([], None, folder, "cpu").name for folder in (clip_folder, other)]
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    names.append(file_judges([], None, other, "cpu").name)
    assert names[0] == names[1] != names[2]


def test_a_missing_clip_is_named_with_its_source(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    missing = "preprocessor_config.json, tokenizer_config.json, model.safetensors or pytorch_model.bin missing"
    with pytest.raises(FileNotFoundError, match=f": {missing}; download all files of https://huggingface.co/openai/"):
        ClipFeatures(tmp_path)


# The demo world.


def renders(time: str, biome: str, count: int = 2, first: int = 31_000_000) -> torch.Tensor:
    return as_images(np.stack([render(first + k, time, biome, 128) for k in range(count)]))


def test_demo_features_are_the_judges_embedding():
    images = renders("noon", "lake")
    features = DemoFeatures().embed(images)
    assert features.shape == (2, load_judge().config["widths"][-1])
    torch.testing.assert_close(features, load_judge().taps(images)[-1].mean(dim=(2, 3)))


def test_figures_on_demo_features_tell_noon_from_night():
    network = DemoFeatures()
    noon, other, night = (
        network.embed(renders(time, "forest", 12, first))
        for time, first in (("noon", 31_000_000), ("noon", 32_000_000), ("night", 33_000_000))
    )
    assert giqa(other, noon).mean() > 1.5 * giqa(night, noon).mean()
    assert frechet_distance(night, noon) > 5 * frechet_distance(other, noon)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("biome", BIOMES)
def test_the_caption_score_knows_what_is_there(time, biome):
    scorer, image = DemoCaptionScore(), renders(time, biome, 1)
    right = f"{BIOME_WORDS[biome][-1]} at {TIME_WORDS[time][-1]}"
    other = BIOMES[(BIOMES.index(biome) + 1) % 5]
    half = f"{other} at {time}"
    assert float(scorer.score(image, [right])) > 90
    assert float(scorer.score(image, [half])) == pytest.approx(50, abs=10)
    assert float(scorer.score(image, [other])) < 10


def test_the_caption_score_is_a_mean_of_probabilities():
    images, scorer = renders("dusk", "meadow"), DemoCaptionScore()
    times, biomes = load_judge().logits(images)
    both = (times.softmax(1)[:, 3] + biomes.softmax(1)[:, 0]) / 2
    torch.testing.assert_close(scorer.score(images, ["Mountains at dusk, clouds"]), 100 * both.detach())
    place = 100 * biomes.softmax(1)[:, 4].detach()
    torch.testing.assert_close(scorer.score(images, ["flowers", "a panorama of a meadow"]), place)


def test_named_labels_count_once_whatever_the_words():
    labels = [*TIMES, *BIOMES]

    def names(prompt):
        return [labels[k] for k in named_labels(prompt).nonzero().flatten()]

    assert names("mountains") == ["mountains"]
    assert names("Sunset, sundown over the PEAKS") == ["sunset", "mountains"]
    assert names("dawn or dusk on the shore of a lake") == ["dawn", "dusk", "lake"]


def test_a_prompt_that_names_nothing_lists_the_words():
    with pytest.raises(ValueError, match="has to name a time of day or a place, got 'a cloudy panorama'") as caught:
        DemoCaptionScore().score(renders("noon", "lake", 1), ["a cloudy panorama"])
    for words in (*TIME_WORDS.values(), *BIOME_WORDS.values()):
        assert all(word in str(caught.value) for word in words)


def test_prompts_are_one_for_all_or_one_each():
    with pytest.raises(ValueError, match="prompts has to hold one for each of 3 images or one for all: 2"):
        DemoCaptionScore().score(renders("noon", "lake", 3), ["lake", "noon"])
