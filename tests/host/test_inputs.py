"""What comes in through sockets: canonical, or refused in words; what can be told before the run is told then."""

import math
import types

import pytest
import torch


def pictures(n=1, channels=3, dtype=torch.float32):
    return torch.rand(n, 64, 128, channels, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.fixture
def measure(run_node, perceptual):
    """measure(image) -> outputs of Panorama Coherence in windows of 64 px."""
    return lambda image: run_node("SyncDiffusionCoherence", image=image, perceptual_model=perceptual, window_size=64)


@pytest.fixture
def compare(run_node, perceptual):
    """compare(image_a, image_b) -> outputs of Compare Panoramas in windows of 64 px."""
    inputs = {"perceptual_model": perceptual, "window_size": 64}
    return lambda a, b: run_node("SyncDiffusionCompare", image_a=a, image_b=b, **inputs)


@pytest.fixture
def decode(run_node, vae):
    """decode(samples, **inputs) -> IMAGE by Panorama Decode."""
    return lambda samples, **inputs: run_node(
        "SyncDiffusionPanoramaDecode", **{"samples": samples, "vae": vae, **inputs}
    )


@pytest.fixture
def check_latent(module_of):
    return module_of("host.run.checks").check_latent


def of(value):
    return {"samples": value}


class TestPictures:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_any_floating_numbers_are_pictures(self, dtype, measure, compare, guidance):
        image = pictures(dtype=dtype)
        exact = image.float()
        assert measure(image)[0] == measure(exact)[0]
        assert compare(image, exact)[1] == 0
        anchor = guidance(anchor="reference image", anchor_image=image).target
        torch.testing.assert_close(anchor.image, exact.movedim(-1, 1))

    def test_alpha_is_dropped_and_what_is_beyond_white_is_white(self, measure, guidance):
        image = pictures(channels=4) * 1.5 - 0.2
        shown = image[..., :3].clamp(0, 1)
        assert measure(image)[0] == measure(shown)[0]
        anchor = guidance(anchor="reference image", anchor_image=image).target
        torch.testing.assert_close(anchor.image, shown.movedim(-1, 1))

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (pictures(channels=1), r"expected pictures \[N, H, W, 3\], got shape \(1, 64, 128, 1\); .*in colour"),
            (pictures(channels=2), "expected pictures"),
            (torch.rand(64, 128, 3), "expected pictures"),
            (torch.rand(1, 2, 64, 128, 3), "expected pictures"),
            (torch.zeros(0, 64, 128, 3), "expected pictures"),
            (torch.zeros(1, 0, 128, 3), "expected pictures"),
            (torch.full((1, 64, 128, 3), math.nan), "it holds NaN or infinite values"),
            (torch.full((1, 64, 128, 3), -math.inf, dtype=torch.float16), "it holds NaN or infinite values"),
            (torch.full((1, 64, 128, 3), 255, dtype=torch.uint8), "expected floating numbers, got uint8"),
            (torch.ones(1, 64, 128, 3, dtype=torch.int64), "expected floating numbers, got int64"),
            ("a picture", "expected an IMAGE, got 'a picture'"),
        ],
        ids=range(11),
    )
    def test_what_is_no_picture_is_refused_at_every_socket(self, image, words, measure, compare, guidance, run_node):
        with pytest.raises(ValueError, match=f"^image: {words}"):
            measure(image)
        with pytest.raises(ValueError, match=f"^image_a: {words}"):
            compare(image, pictures())
        with pytest.raises(ValueError, match=f"^image_b: {words}"):
            compare(pictures(), image)
        with pytest.raises(ValueError, match=f"^anchor_image: {words}"):
            guidance(anchor="reference image", anchor_image=image)
        with pytest.raises(ValueError, match=f"^images: {words}"):
            run_node("SyncDiffusionLatentSpectrum", images=image, model=object(), window_size=64)


class TestMasks:
    @pytest.mark.parametrize("shape", [(8, 16), (1, 8, 16), (1, 1, 8, 16)])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bool])
    def test_guidance_takes_what_is_a_mask(self, shape, dtype, guidance):
        mask = guidance(mask=torch.ones(shape, dtype=dtype)).mask
        assert mask.shape == (1, 8, 16)
        assert mask.dtype is torch.float32

    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            (torch.ones(1, 8, 16, 3), "expected a mask"),
            (torch.ones(1, 0, 16), "expected a mask"),
            (torch.ones(16), "expected a mask"),
            (torch.full((1, 8, 16), math.nan), "it holds NaN"),
            (torch.full((1, 8, 16), -7.0), "its values go from -7 to -7"),
            (torch.ones(1, 8, 16, dtype=torch.int32), "expected floating numbers, got int32"),
        ],
    )
    def test_guidance_refuses_what_is_none(self, mask, words, guidance):
        with pytest.raises(ValueError, match=f"^mask: {words}"):
            guidance(mask=mask)


class TestLatents:
    LATENTS = (
        ({}, "it holds no samples"),
        ({"samples": None}, "it holds no samples"),
        (None, "it holds no samples"),
        (of("latent"), "expected a LATENT, got 'latent'"),
        (of(torch.zeros(0, 4, 8, 24)), r"got shape \(0, 4, 8, 24\)"),
        (of(torch.zeros(1, 4, 0, 24)), r"got shape \(1, 4, 0, 24\)"),
        (of(torch.zeros(4, 8, 24)), r"got shape \(4, 8, 24\)"),
        (of(torch.zeros(1, 4, 8, 24, dtype=torch.int64)), "expected floating numbers, got int64"),
        (of(torch.zeros(1, 4, 8, 24, dtype=torch.bool)), "expected floating numbers, got bool"),
        (of(torch.full((1, 4, 8, 24), math.inf)), "it holds NaN or infinite values"),
    )

    @pytest.mark.parametrize(("latent", "words"), LATENTS)
    def test_what_is_no_latent_is_refused(self, latent, words, decode, panorama, windows, models):
        with pytest.raises(ValueError, match=f"^samples: .*{words}"):
            decode(latent)
        with pytest.raises(ValueError, match=f"^latent_image: .*{words}"):
            panorama(models["eps"], windows(64, 32), latent_image=latent)

    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            (torch.full((1, 64, 192), math.nan), "its noise mask: it holds NaN"),
            (torch.full((1, 64, 192), 255.0), "its noise mask: its values go from 255 to 255"),
            (torch.ones(1, 64, 192, dtype=torch.uint8), "its noise mask: expected floating numbers"),
            (torch.ones(1, 64, 192, dtype=torch.bool), "its noise mask: expected floating numbers"),
            (torch.ones(64), "its noise mask should be .B, H, W., got shape .64,."),
            (torch.ones(1, 1, 1, 64, 192), "its noise mask should be"),
            (torch.ones(1, 0, 0), "its noise mask should be"),
            (torch.ones(1, 3, 64, 192), "its noise mask is a batch of 3 for 1 latents"),
            ("mask", "its noise mask should be"),
        ],
        ids=range(9),
    )
    def test_a_noise_mask_that_is_none(self, mask, words, check_latent):
        with pytest.raises(ValueError, match=f"^latent_image: {words}"):
            check_latent({**of(torch.zeros(1, 4, 8, 24)), "noise_mask": mask})

    @pytest.mark.parametrize("shape", [(64, 192), (2, 64, 192), (2, 1, 64, 192), (1, 8, 24), (1, 1, 8, 24)])
    def test_noise_masks_as_the_host_takes_them(self, shape, check_latent):
        check_latent({**of(torch.zeros(2, 4, 8, 24)), "noise_mask": torch.rand(shape)})
        check_latent({**of(torch.zeros(1, 4, 5, 8, 24)), "noise_mask": torch.rand(5, 64, 192)})  # one for each frame

    def test_of_another_model(self, check_latent, small, models):
        model, wan = models["eps"], small.wan_model()
        with pytest.raises(ValueError, match="it has 16 channels and the model's latents have 4.*encode the picture"):
            check_latent(of(torch.ones(1, 16, 8, 24)), model)
        with pytest.raises(ValueError, match="it has 4 channels and the model's latents have 16"):
            check_latent(of(torch.ones(1, 4, 8, 24)), wan)
        with pytest.raises(ValueError, match="it has 3 frames in time and the model makes single pictures"):
            check_latent(of(torch.zeros(1, 4, 3, 8, 24)), model)
        check_latent(of(torch.zeros(1, 16, 8, 24)), model)  # empty: the host makes it the model's
        check_latent(of(torch.zeros(1, 4, 8, 24)), wan)

    def test_of_another_model_at_the_sampler(self, panorama, windows, models):
        with pytest.raises(ValueError, match="latent_image: it has 16 channels and the model's latents have 4"):
            panorama(models["eps"], windows(64, 32), latent_image=of(torch.ones(1, 16, 8, 24)))

    def test_numbers_of_other_latents(self, check_latent):
        with pytest.raises(ValueError, match="batch_index numbers 3 latents and there are 2"):
            check_latent({**of(torch.zeros(2, 4, 8, 24)), "batch_index": [0, 1, 2]})

    def test_decode_wants_a_vae_of_the_latents_own(self, decode):
        latent = of(torch.zeros(1, 4, 8, 24))
        for nothing in (None, types.SimpleNamespace(first_stage_model=None)):
            with pytest.raises(ValueError, match=r"vae: nothing is connected.*Load VAE"):
                decode(latent, vae=nothing)
        with pytest.raises(ValueError, match=r"vae: it decodes latents of 4 channels and the latent has 16"):
            decode(of(torch.zeros(1, 16, 1, 8, 24)))
        with pytest.raises(ValueError, match=r"samples: it has 3 frames in time and this VAE decodes single pictures"):
            decode(of(torch.zeros(1, 4, 3, 8, 24)))
        assert decode(of(torch.zeros(1, 4, 1, 8, 24)))[0].shape == (1, 64, 192, 3)

    def test_a_picture_narrower_than_its_wrap(self, decode):
        assert decode(of(torch.zeros(1, 4, 8, 8)), wrap_x=True, wrap_margin=512)[0].shape == (1, 64, 64, 3)


@pytest.mark.parametrize(
    "node", ["SyncDiffusionPanoramaDecode", "SyncDiffusionRegionPrompts", "SyncDiffusionLatentSpectrum"]
)
def test_a_checkpoint_without_a_vae(node, run_node, small):
    """The host gives an object then, with nothing in it."""
    inputs = {
        "SyncDiffusionPanoramaDecode": {"samples": of(torch.zeros(1, 4, 8, 8))},
        "SyncDiffusionLatentSpectrum": {"images": pictures(), "model": object()},
        "SyncDiffusionRegionPrompts": {
            "conditioning": small.conditioning(1),
            "region": small.conditioning(2),
            "bboxes": {"x": 0, "y": 0, "width": 64, "height": 64},
        },
    }
    with pytest.raises(ValueError, match=r"vae: nothing is connected, or the checkpoint holds none.*Load VAE"):
        run_node(node, vae=types.SimpleNamespace(first_stage_model=None), **inputs[node])


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("SyncDiffusionGuidance", {"weight": math.nan}, "weight must be a number of 0 or more, got nan"),
        ("SyncDiffusionGuidance", {"weight": math.inf}, "weight must be a number of 0 or more, got inf"),
        ("SyncDiffusionGuidance", {"max_move": math.nan}, "max_move: it must be between 0 and 10, got nan"),
        ("SyncDiffusionGuidance", {"anchor": "window"}, "anchor: it must be one of centre window, .*got 'window'"),
        ("SyncDiffusionGuidance", {"preset": "fastest"}, "preset: it must be one of reference, balanced, fast"),
        ("SyncDiffusionSavings", {"grid": "none"}, "grid: it must be one of"),
        ("SyncDiffusionSavings", {"part": 0.0}, "part: it must be between 0.01 and 1, got 0.0"),
        ("SyncDiffusionMergeAttention", {"end_percent": 2.0}, "end_percent: it must be between 0 and 1, got 2.0"),
        ("SyncDiffusionWindowPrompts", {"prompts": "a", "blend": -0.1}, "blend: it must be between 0 and 1, got -0.1"),
        ("SyncDiffusionWindowPrompts", {"prompts": "a", "direction": "up"}, "direction: it must be one of"),
        ("SyncDiffusionWindowPrompts", {"prompts": "a", "clip": None}, "clip: nothing is connected"),
        ("SyncDiffusionPanoramaDecode", {"tile_size": 0}, "tile_size: it must be between 128 and 8192, got 0"),
        ("SyncDiffusionCoherence", {"perceptual_model": None}, "perceptual_model: nothing is connected; add a Load"),
        ("SyncDiffusionCoherence", {"window_size": 0}, "window_size: it must be between 32 and 16384, got 0"),
        ("SyncDiffusionCompare", {"window_size": 64.5}, "window_size: expected a whole number, got 64.5"),
    ],
)
def test_what_a_link_brings_keeps_to_the_widgets_range(node, inputs, words, run_node, perceptual, models, small, vae):
    """The host does not look at numbers and choices that come from other nodes."""
    linked = {
        "SyncDiffusionGuidance": {"perceptual_model": perceptual, "vae": vae},
        "SyncDiffusionMergeAttention": {"model": models["eps"]},
        "SyncDiffusionWindowPrompts": {"clip": small.Clip()},
        "SyncDiffusionPanoramaDecode": {"vae": vae, "samples": of(torch.zeros(1, 4, 8, 8))},
        "SyncDiffusionCoherence": {"image": pictures(), "perceptual_model": perceptual},
        "SyncDiffusionCompare": {"image_a": pictures(), "image_b": pictures(), "perceptual_model": perceptual},
    }
    with pytest.raises(ValueError, match=words):
        run_node(node, **{**linked.get(node, {}), **inputs})


def test_what_an_anchor_does_not_use_is_told(guidance, host):
    """A picture that is connected and not chosen guides nothing."""
    for inputs, words in (
        ({"anchor_image": pictures()}, b"anchor_image: not used by the anchor 'centre window'"),
        ({"anchor_index": 3}, b"anchor_index: not used by the anchor 'centre window'"),
    ):
        guidance(**inputs)
        assert any(isinstance(data, bytes) and words in data for _, data in host.server.events)


class TestBeforeTheRun:
    """What the widgets and the links say by themselves is told where the graph is checked, at its node."""

    @pytest.fixture
    def refusal(self, host, pack, run_node):
        """refusal(node, **inputs) -> the host's words on that node of a graph; "" where it would run."""

        def check(node, **inputs):
            defaults = {
                name: spec[1]["default"]
                for section in ("required", "optional")
                for name, spec in pack[node].INPUT_TYPES().get(section, {}).items()
                if "default" in spec[1] and not spec[1].get("forceInput")
            }
            values = {**defaults, **inputs}
            graph = {"1": {"class_type": node, "inputs": values}}
            graph |= {k: {"class_type": "TestValue", "inputs": {"name": k}} for k in ("a", "b", "c")}
            graph["2"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
            host._value_nodes({})
            try:
                host.validate(graph)
            except Exception as error:
                return " ".join(f"{each['message']}: {each['details']}" for each in error.errors["1"]["errors"])
            return ""

        return check

    GUIDANCE = {"node": "SyncDiffusionGuidance", "perceptual_model": ["a", 0]}
    SPECTRUM = {"node": "SyncDiffusionLatentSpectrum"}
    PROMPTS = {"node": "SyncDiffusionWindowPrompts", "clip": ["a", 0]}
    REGION = {"node": "SyncDiffusionRegionPrompts", "conditioning": ["a", 0], "region": ["b", 0]}

    @pytest.mark.parametrize(
        ("inputs", "words"),
        [
            ({**GUIDANCE, "start_percent": 0.5, "end_percent": 0.2}, "start and end within 0 and 1 in that order"),
            ({**GUIDANCE, "start_percent": 0.3}, "got 0.3 and 0.2"),
            ({**GUIDANCE, "end_percent": 1.5}, "end_percent: it must be between 0 and 1, got 1.5"),
            ({**GUIDANCE, "start_percent": math.nan}, "start_percent: it must be between 0 and 1, got nan"),
            ({**GUIDANCE, "anchor": "reference image"}, "needs a picture; connect one to anchor_image"),
            ({**GUIDANCE, "anchor": "sky"}, "anchor: it must be one of"),
            ({**SPECTRUM, "name": " "}, "images: nothing is connected and there is no name"),
            ({**SPECTRUM, "name": "a/b"}, "name: 'a/b' cannot be the name of a file"),
            ({**SPECTRUM, "name": "a", "images": ["a", 0]}, "model: nothing is connected"),
            ({**PROMPTS, "prompts": "\n \n"}, "prompts: no text; write a prompt a line"),
            (REGION, "mask, bboxes: the region has no place"),
        ],
    )
    def test_it_is_told(self, inputs, words, refusal):
        said = refusal(**inputs)
        assert words in said
        assert said.startswith("Custom validation failed for node")

    @pytest.mark.parametrize(
        "inputs",
        [
            GUIDANCE,
            {**GUIDANCE, "anchor": "reference image", "anchor_image": ["b", 0]},
            {**GUIDANCE, "start_percent": ["b", 0], "end_percent": 0.1},
            {**GUIDANCE, "anchor": ["b", 0]},
            {**SPECTRUM, "name": "a"},
            {**SPECTRUM, "name": ["a", 0]},
            {**SPECTRUM, "name": "", "images": ["a", 0], "model": ["b", 0]},
            {**PROMPTS, "prompts": "hills"},
            {**PROMPTS, "prompts": ["b", 0]},
            {**REGION, "mask": ["c", 0]},
            {**REGION, "bboxes": ["c", 0]},
        ],
    )
    def test_what_may_run_does(self, inputs, refusal):
        assert refusal(**inputs) == ""
