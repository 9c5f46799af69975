"""The words of the world of solids, the training of the model that paints them, and its files."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from demo import captions, object_captions, train_objects
from demo.controlnet import ControlNet
from demo.judge import OBJECTS_FILE, load_objects_judge
from demo.low_rank import tensors_of
from demo.materials import COLOURS, MATERIALS
from demo.object_captions import COLOUR_WORDS, MATERIAL_WORDS, SHAPE_WORDS, VOCABULARY_OBJECTS, Kind, caption_object
from demo.objects import CONTROL_FILE, OBJECTS
from demo.pipeline import load_demo, load_objects
from demo.solids import SHAPES
from demo.tokenizer import Tokenizer
from syncdiffusion_core.perceptual.scene_net import SceneNet
from syncdiffusion_core.weights import open_weights

TRAINED = all(path.exists() for path in (OBJECTS.file, CONTROL_FILE, OBJECTS_FILE))
trained = pytest.mark.skipif(not TRAINED, reason="objects are not trained yet: python -m demo.train objects")
KIND = Kind("brick", "red", "vase")


@pytest.fixture(scope="module")
def texts():
    """Words of 800 captions of a red vase of brick, seen from the front."""
    rng = np.random.default_rng(0)
    return [caption_object(rng, KIND, ("front",)).replace(",", "").split() for _ in range(800)]


class TestCaptions:
    """What a solid is called."""

    def test_half_of_them_leave_the_colour_out(self, texts):
        told = np.mean([bool({*COLOUR_WORDS["red"]} & {*text}) for text in texts])
        assert 0.44 < told < 0.56

    def test_some_leave_the_shape_out_and_all_say_the_material(self, texts):
        shaped = np.mean([bool({*SHAPE_WORDS["vase"]} & {*text}) for text in texts])
        assert 0.7 < shaped < 0.9
        assert all({*MATERIAL_WORDS["brick"]} & {*text} for text in texts)

    def test_some_say_the_side(self, texts):
        sides = np.mean([("front", "view") in zip(text, text[1:], strict=False) for text in texts])
        assert 0.42 < sides < 0.58

    def test_colour_can_be_asked_for(self):
        rng = np.random.default_rng(1)
        for wanted in (True, False):
            texts = [caption_object(rng, KIND, with_colour=wanted) for _ in range(50)]
            assert all(any(word in text for word in COLOUR_WORDS["red"]) is wanted for text in texts)

    def test_every_word_is_known_and_none_is_said_of_two_things(self):
        rng, tokenizer = np.random.default_rng(0), Tokenizer(tuple(VOCABULARY_OBJECTS))
        for material in MATERIALS:
            for colour in COLOURS:
                for shape in SHAPES:
                    text = caption_object(rng, Kind(material, colour, shape), object_captions.SIDES)
                    assert tokenizer.unknown(text) == []
        tables = (MATERIAL_WORDS, COLOUR_WORDS, SHAPE_WORDS)
        words = [word for table in tables for group in table.values() for word in group]
        assert len({*words}) == len(words)
        assert [[*MATERIAL_WORDS], [*COLOUR_WORDS], [*SHAPE_WORDS]] == [[*MATERIALS], [*COLOURS], [*SHAPES]]

    def test_words_of_the_landscapes_keep_their_numbers(self):
        known = captions.VOCABULARY_AROUND
        assert VOCABULARY_OBJECTS[: len(known)] == known
        assert len({*VOCABULARY_OBJECTS}) == len(VOCABULARY_OBJECTS)
        assert not {*VOCABULARY_OBJECTS} & captions.FILLERS


def lesson(count: int = 6, shown: int = 4) -> train_objects.Lesson:
    """Anything of the right shapes."""
    seeded = torch.Generator().manual_seed(0)
    texts = ["red brick vase", "wooden chair", "", "a thing of moss", "metal ring, top view", "blue ball, cloth"]
    return train_objects.Lesson(
        torch.randn(count, 4, 16, 16, generator=seeded),
        Tokenizer(tuple(VOCABULARY_OBJECTS)).batch(texts[:count]),
        torch.rand(shown, 3, 128, 128, generator=seeded),
    )


class TestTraining:
    """UNet, text encoder and ControlNet together."""

    @pytest.fixture
    def networks(self):
        torch.manual_seed(0)
        return train_objects.started(load_demo()).cpu()

    def test_nothing_changes_before_it(self, networks):
        plain, given = load_demo(), lesson()
        x, t = given.x0, torch.full((6,), 500)
        with torch.no_grad():
            residuals = train_objects._residuals(
                networks["control"], x, train_objects.patches(given.hints), t, torch.randn(6, 16, 128), 4
            )
            assert all(len(part) == 6 and not part.any() for part in residuals)
            context = plain.encode(["forest at noon"])
            torch.testing.assert_close(networks["text"](plain.tokenizer.batch(["forest at noon"])), context)
            context = context.expand(6, -1, -1)
            torch.testing.assert_close(networks["unet"](x, t, context, residuals), plain.unet(x, t, context))

    def test_a_few_steps_lower_the_loss_and_move_all_three(self, networks):
        given, t = lesson(), torch.tensor([50, 300, 500, 700, 900, 990])
        eps = torch.randn(given.x0.shape, generator=torch.Generator().manual_seed(1))
        before = {name: value.clone() for name, value in networks.state_dict().items()}
        optimiser = torch.optim.AdamW([p for p in networks.parameters() if p.requires_grad], 1e-3)
        losses = []
        for _ in range(6):
            loss = train_objects.v_loss(networks, given, t, eps)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.9 * losses[0]
        moved = {name for name, value in networks.state_dict().items() if not torch.equal(value, before[name])}
        assert {name.split(".")[0] for name in moved} == {"unet", "text", "control"}
        assert not any(name.endswith("parametrizations.weight.original") for name in moved)

    def test_rows_without_a_hint_are_those_of_the_unet_alone(self, networks):
        with torch.no_grad():
            for part in networks["control"].zero_convs:
                part[0].weight.normal_(0, 0.1)
        given, t = lesson(), torch.full((6,), 500)
        context = torch.randn(6, 16, 128)
        with torch.no_grad():
            cells = train_objects.patches(given.hints)
            parts = train_objects._residuals(networks["control"], given.x0, cells, t, context, 4)
            whole = networks["control"](given.x0[:4], given.hints, t[:4], context[:4])
        assert all(not part[4:].any() for part in parts)
        assert all(torch.allclose(p[:4], w, atol=1e-2) for p, w in zip(parts, whole, strict=True))

    def test_pictures_on_hints_are_painted_with_the_controlnet(self, networks):
        hints = torch.rand(2, 3, 64, 64)
        hinted = train_objects.Hinted(load_demo().unet, networks["control"], hints)
        x, t, context = torch.randn(4, 4, 8, 8), torch.full((4,), 500), torch.randn(4, 16, 128)
        with torch.no_grad():
            torch.testing.assert_close(hinted(x, t, context), load_demo().unet(x, t, context))


class TestFile:
    """What training holds is what the file gives back."""

    def test_it_gives_the_weights_of_training(self, tmp_path):
        torch.manual_seed(0)
        networks = train_objects.started(load_demo()).cpu()
        with torch.no_grad():
            for name, weight in networks["unet"].named_parameters():
                if name.endswith(".0.up"):
                    weight.normal_(0, 0.01)
        save_file(tensors_of(networks), tmp_path / "objects.safetensors")
        file = open_weights(tmp_path / "objects.safetensors", "safetensors file", "install the pack again")
        unet, text = OBJECTS.changed(load_demo().unet.state_dict(), file)
        plain, given = load_demo().unet, lesson(2)
        plain.load_state_dict(unet)
        t = torch.tensor([100, 900])
        with torch.no_grad():
            context = networks["text"](given.ids)
            wanted = networks["unet"](given.x0, t, context)
        torch.testing.assert_close(plain(given.x0, t, context), wanted, atol=2e-2, rtol=0)
        assert {name: value.shape for name, value in text.items()} == {
            name: value.shape for name, value in networks["text"].state_dict().items()
        }

    def test_another_file_is_refused(self, tmp_path):
        save_file({"unet.out.2.bias": torch.zeros(4)}, tmp_path / "other.safetensors")
        file = open_weights(tmp_path / "other.safetensors", "safetensors file", "install the pack again")
        with pytest.raises(ValueError, match="its weights do not fit the demo model that paints objects"):
            OBJECTS.changed(load_demo().unet.state_dict(), file)

    def test_they_will_be_small(self):
        networks = train_objects.started(load_demo())
        numbers = sum(value.numel() for value in tensors_of(networks).values())
        numbers += sum(value.numel() for value in networks["control"].state_dict().values())
        assert 2 * numbers < 22e6
        judge = SceneNet(**train_objects.OBJECTS_JUDGE)
        assert 2 * sum(value.numel() for value in judge.state_dict().values()) < 1e6


@pytest.mark.parametrize("classes", [5, [5], [5, 0], [5, 10**6], [5, True], "56"])
def test_a_scene_net_of_impossible_classes_is_refused(classes):
    with pytest.raises(ValueError, match="classes"):
        SceneNet(classes=classes)


@trained
class TestTrained:
    """The files that are shipped."""

    def test_they_are_small(self):
        assert OBJECTS.file.stat().st_size + CONTROL_FILE.stat().st_size < 22e6
        assert OBJECTS_FILE.stat().st_size < 1e6

    def test_they_fit(self):
        assert load_objects().tokenizer.unknown("red brick vase, front view") == []
        with torch.device("meta"):
            control = ControlNet()
        open_weights(CONTROL_FILE, "safetensors file", "train it").fill(control, "a ControlNet")

    def test_the_judge_says_how_good_it_is(self):
        judge = load_objects_judge()
        assert [len(logits[0]) for logits in judge.logits(torch.rand(1, 3, 128, 128))] == [6, 6]
        file = open_weights(OBJECTS_FILE, "safetensors file", "train it")
        figures = json.loads(file.metadata["training"])["held_out_accuracy_material_colour"]
        assert min(figures["renders"]) > 0.9
        assert min(figures["reconstructions"]) > 0.85
