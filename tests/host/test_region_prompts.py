"""Region Prompts: a region in front of what is there, as conditioning that the host's nodes can read and write."""

import math

import pytest
import torch

NODE = "SyncDiffusionRegionPrompts"
CANVAS = {"width": 192, "height": 64}
BOX = {"x": 64, "y": 16, "width": 72, "height": 40}


@pytest.fixture
def region(run_node, small):
    """region(background, seed of the region's prompt, **inputs) -> CONDITIONING on the small canvas."""

    def make(background, seed=5, **inputs):
        return run_node(NODE, conditioning=background, region=small.conditioning(seed), **{**CANVAS, **inputs})[0]

    return make


def box_mask(box=BOX):
    mask = torch.zeros(1, 64, 192)
    mask[:, box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = 1
    return mask


def agree(one, other, tolerance=1e-5):
    assert (one - other).abs().max() <= tolerance * other.abs().max()


def stock_region(run_node, small, mask):
    """The same by the host's nodes: two complementary masks, combined."""
    back, front = (
        run_node("ConditioningSetMask", conditioning=small.conditioning(seed), mask=part, strength=1.0)[0]
        for seed, part in ((1, 1 - mask), (5, mask))
    )
    return run_node("ConditioningCombine", conditioning_1=back, conditioning_2=front)[0]


@pytest.mark.parametrize("how", ["ksampler", "sampler", "apply windows"])
@pytest.mark.parametrize("given", ["bboxes", "mask"])
def test_a_hard_region_is_the_hosts_complementary_masks(
    how, given, region, run_node, small, models, ksampler, panorama, windows
):
    place = {"bboxes": BOX} if given == "bboxes" else {"mask": box_mask()}
    ours = region(small.conditioning(1), feather=0, **place)
    stock = stock_region(run_node, small, box_mask())

    def sample(positive):
        if how == "sampler":
            return panorama(models["eps"], windows(64, 32), positive=positive, steps=2)[0]["samples"]
        model = models["eps"]
        if how == "apply windows":
            model = run_node("SyncDiffusionApplyWindows", model=model, windows=windows(64, 32))[0]
        return ksampler(model, positive=positive, steps=2)

    agree(sample(ours), sample(stock))


def test_regions_in_front_of_each_other_share_every_place(region, small):
    back = small.conditioning(1)
    middle = region(back, 5, bboxes=BOX, feather=16, strength=0.8)
    front = region(middle, 6, bboxes=[{**BOX, "x": 100}, {**BOX, "x": 0}], feather=8)
    weights = torch.cat([options["mask"] * options["mask_strength"] for _, options in front])
    torch.testing.assert_close(weights.sum(0), torch.ones(64, 192))
    assert weights[2, 32, [110, 20, 80]].tolist() == [1, 1, 0]
    assert weights[1, 32, 80] == pytest.approx(0.8)
    assert len(back[0][1]) == 1, "the artist's conditioning stays as it was"


def test_masks_of_other_sizes_are_stretched_and_feather_is_of_the_canvas(region, small):
    half = torch.zeros(1, 8, 48)
    half[..., 24:] = 1
    back, front = region(small.conditioning(1), mask=half, feather=32)
    ramp = front[1]["mask"][0, 30]
    assert ramp[[70, 122]].tolist() == [0, 1]
    torch.testing.assert_close(ramp[95:97].mean(), torch.tensor(0.5))
    torch.testing.assert_close(back[1]["mask"], 1 - front[1]["mask"])


def test_what_conditions_carry_is_kept_and_read(region, run_node, small):
    """Masks of stock nodes before it are cut, areas, ranges, hooks and strengths stay; defaults are left to fill."""
    hooks = object()
    before = [
        *run_node("ConditioningSetMask", conditioning=small.conditioning(1), mask=torch.ones(1, 8, 8), strength=0.5)[0],
        *small.conditioning(2, area=(8, 4, 0, 2), strength=0.7, start_percent=0.3, hooks=hooks),
        *small.conditioning(3, default=True),
    ]
    masked, area, default, _front = region(before, bboxes=BOX, feather=0)
    assert masked[1]["mask_strength"] == 0.5
    torch.testing.assert_close(masked[1]["mask"], 1 - box_mask())
    assert {key: area[1][key] for key in ("area", "strength", "start_percent", "hooks")} == {
        "area": (8, 4, 0, 2),
        "strength": 0.7,
        "start_percent": 0.3,
        "hooks": hooks,
    }
    assert "mask" not in default[1]


def test_a_region_of_several_prompts_keeps_their_masks(region, run_node, small):
    """Window Prompts inside a region."""
    parts = run_node("SyncDiffusionWindowPrompts", clip=small.Clip(), prompts="a\nbb", blend=0.0)[0]
    both = run_node(NODE, conditioning=small.conditioning(1), region=parts, bboxes=BOX, feather=0, **CANVAS)[0]
    left, right = (options["mask"] for _, options in both[1:])
    torch.testing.assert_close(left + right, box_mask())
    assert left[0, 32, 80] == right[0, 32, 120] == 1


def test_detections_on_several_pictures_are_a_mask_for_each(region, small):
    front = region(small.conditioning(1), bboxes=[[BOX], [{**BOX, "x": 0}]], feather=0)[-1]
    assert front[1]["mask"].shape == (2, 64, 192)
    torch.testing.assert_close(front[1]["mask"][1:], box_mask({**BOX, "x": 0}))


def test_mask_output_and_loop(run_node, small):
    inputs = {"conditioning": small.conditioning(1), "region": small.conditioning(5), **CANVAS, "feather": 0}
    beyond = {**BOX, "x": 160}
    place = run_node(NODE, bboxes=beyond, strength=0.5, loop=True, **inputs)[1]
    assert place[0, 32, [0, 30, 60, 170]].tolist() == [0.5, 0.5, 0, 0.5]
    assert run_node(NODE, bboxes=beyond, **inputs)[1][0, 32, [0, 170]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "connect a mask, or bounding boxes"),
        ({"bboxes": []}, "bboxes: no box"),
        ({"bboxes": [[BOX], []]}, "bboxes: no box"),
        ({"bboxes": {**BOX, "x": 500}}, "covers nothing of a canvas of 192x64"),
        ({"bboxes": {"y": 1, "width": 8, "height": 8}}, "bboxes: a box has x, y, width and height, got"),
        ({"bboxes": [{"x": 1, "y": 1, "height": 8}]}, "bboxes: a box has x, y, width and height, got"),
        ({"bboxes": {}}, "bboxes: a box has x, y, width and height, got {}"),
        ({"bboxes": {**BOX, "x": math.nan}}, "bboxes: a box has numbers for x and y"),
        ({"bboxes": {**BOX, "width": math.inf}}, "bboxes: a box has numbers for x and y"),
        ({"bboxes": {**BOX, "y": "12"}}, "bboxes: a box has numbers for x and y"),
        ({"bboxes": {**BOX, "y": None}}, "bboxes: a box has numbers for x and y"),
        ({"bboxes": {**BOX, "height": -3}}, "bboxes: a box has numbers .* a width and height of 0 or more"),
        ({"bboxes": {**BOX, "height": 0}}, "covers nothing of a canvas of 192x64"),
        ({"bboxes": [BOX, [BOX]]}, "bboxes: expected a list of boxes for each picture"),
        ({"bboxes": ["face"]}, "bboxes: expected a list of boxes for each picture, got 'face'"),
        ({"bboxes": [["face"]]}, "bboxes: a box has x, y, width and height, got 'face'"),
        ({"bboxes": [[]]}, "bboxes: no box"),
        ({"bboxes": "face"}, "bboxes: expected boxes with x, y, width and height, got 'face'"),
        ({"bboxes": torch.rand(2, 4)}, "bboxes: expected boxes with x, y, width and height"),
        ({"mask": torch.zeros(1, 64, 64)}, "mask: the mask is black everywhere, .*Load Image"),
        ({"mask": torch.zeros(64, 64, dtype=torch.float16)}, "mask: the mask is black everywhere"),
        ({"mask": torch.zeros(1, 64, 64), "bboxes": BOX}, "mask: the mask is black everywhere"),
        ({"mask": torch.zeros(1, 0, 0)}, r"mask: expected a mask \[B, H, W\], got shape \(1, 0, 0\)"),
        ({"mask": torch.ones(0, 64, 64)}, r"mask: expected a mask \[B, H, W\], got shape \(0, 64, 64\)"),
        ({"mask": torch.ones(64)}, r"mask: expected a mask \[B, H, W\], got shape \(64,\)"),
        ({"mask": torch.ones(1, 64, 64, 3)}, r"mask: expected a mask"),
        ({"mask": torch.full((1, 8, 8), math.nan)}, "mask: it holds NaN"),
        ({"mask": torch.full((1, 8, 8), 255.0)}, "mask: its values go from 255 to 255, and those of a mask from 0"),
        ({"mask": torch.full((1, 8, 8), 255, dtype=torch.uint8)}, "mask: expected floating numbers, got uint8"),
        ({"mask": [BOX]}, "mask: expected a MASK, got"),
        ({"mask": torch.ones(2, 8, 8), "bboxes": [[BOX]] * 3}, "bboxes: boxes on 3 pictures and a batch of 2 masks"),
        ({"bboxes": BOX, "strength": math.nan}, "strength: it must be between 0 and 1, got nan"),
        ({"bboxes": BOX, "feather": -1}, "feather: it must be between 0 and 16384, got -1"),
        ({"bboxes": BOX, "width": 0}, "width: it must be between 16 and 16384, got 0"),
        ({"bboxes": BOX, "height": 64.5}, "height: expected a whole number, got 64.5"),
    ],
)
def test_what_is_no_region_is_refused(inputs, words, region, small):
    with pytest.raises(ValueError, match=words):
        region(small.conditioning(1), **inputs)


def test_default_conditioning_is_no_region(run_node, small):
    inputs = {"conditioning": small.conditioning(1), "region": small.conditioning(5, default=True), "bboxes": BOX}
    with pytest.raises(ValueError, match="region: default conditioning has no place"):
        run_node(NODE, **inputs, **CANVAS)


def ranged(entries, start, end):
    """As Conditioning (Set Timestep Range) makes it."""
    return [[tensor, {**options, "start_percent": start, "end_percent": end}] for tensor, options in entries]


def scheduled(entries, start, end):
    """As an encoding under a schedule of hooks is."""
    return [[tensor, {**options, "clip_start_percent": start, "clip_end_percent": end}] for tensor, options in entries]


def masked(entries, part, strength=1.0):
    mask = torch.zeros(1, 64, 192)
    mask[..., part] = 1
    return [[tensor, {**options, "mask": mask, "mask_strength": strength}] for tensor, options in entries]


class Weights:
    """What the host makes of conditions at a noise level: each prompt's weight at every place, by its number."""

    def __init__(self, model, small, seeds=range(1, 9)):
        self.sampling = model.model
        self.tokens = {seed: small.conditioning(seed)[0][0] for seed in seeds}

    def level(self, percent):
        return torch.tensor([self.sampling.model_sampling.percent_to_sigma(percent)], dtype=torch.float32)

    def __call__(self, conditioning, percent, sigma=None):
        import comfy.samplers

        conds = [{**options, "model_conds": {}, "uuid": None, "tokens": tensor} for tensor, options in conditioning]
        comfy.samplers.calculate_start_end_timesteps(self.sampling, conds)
        sigma = self.level(percent) if sigma is None else sigma
        total = {}
        for cond in conds:
            seed = next(seed for seed, tokens in self.tokens.items() if torch.equal(tokens, cond["tokens"]))
            found = comfy.samplers.get_area_and_mult(cond, torch.zeros(1, 1, 64, 192), sigma)
            if found is not None:
                total[seed] = total.get(seed, 0) + found.mult[0, 0]
        return total


IN, OUT = (32, 100), (32, 20)  # a place in the region BOX, and one beside it
TIMES = [0.01, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.99]


@pytest.fixture
def weights(models, small):
    return Weights(models["eps"], small)


@pytest.fixture
def beside(small):
    """beside(*seeds) -> the prompts of these seeds, combined."""
    return lambda *seeds: [entry for seed in seeds for entry in small.conditioning(seed)]


class TestRegionsInTime:
    """Where a region is not active, in space or in time, what is behind it has its place."""

    @pytest.mark.parametrize(
        ("family", "way", "span"),
        [
            ("eps", ranged, (0.0, 0.5)),
            ("eps", scheduled, (0.5, 1.0)),
            ("flow", ranged, (0.25, 0.75)),
            ("flow", scheduled, (0.0, 0.5)),
        ],
    )
    def test_under_the_hosts_sampler(self, span, way, family, run_node, small, models):
        """A step from one level to 0 is the model's prediction there: of the background where the region is not."""
        model, background = models[family], small.conditioning(1)
        inputs = {"conditioning": background, "bboxes": BOX, "feather": 8, **CANVAS}
        region = run_node(NODE, region=small.conditioning(5), **inputs)[0]
        ours = run_node(NODE, region=way(small.conditioning(5), *span), **inputs)[0]
        sampling = model.model.model_sampling

        def predicted(positive, sigma):
            roles = {"positive": positive, "negative": small.conditioning(2), "cfg": 4.0}
            return run_node(
                "SamplerCustom",
                model=model,
                add_noise=True,
                noise_seed=3,
                **roles,
                sampler=run_node("KSamplerSelect", sampler_name="euler")[0],
                sigmas=torch.stack([sigma, torch.zeros(())]),
                latent_image=small.empty_latent(192, 64),
            )[0]["samples"]

        for percent in (0.1, 0.5, 0.9):
            sigma = torch.tensor(sampling.percent_to_sigma(percent))
            wanted = region if span[0] <= percent <= span[1] else background
            torch.testing.assert_close(predicted(ours, sigma), predicted(wanted, sigma))
        for end in span:
            if 0 < end < 1:  # no gap beside it, whichever the host counts it to
                exact = torch.tensor(sampling.percent_to_sigma(end))
                for beyond in (0.0, 10.0):
                    near = torch.nextafter(exact, torch.tensor(beyond))
                    got, *either = (predicted(positive, near) for positive in (ours, region, background))
                    assert any(torch.allclose(got, one, rtol=1e-4, atol=1e-4) for one in either)

    @pytest.mark.parametrize("strength", [1.0, 0.6])
    @pytest.mark.parametrize("span", [(0.0, 0.5), (0.3, 0.6), (0.4, 1.0), (0.0, 1.0), (0.8, 0.2)], ids=str)
    def test_weights_sum_to_the_backgrounds_at_every_time(self, span, strength, region, beside, weights, run_node):
        backgrounds = {
            "one": beside(1),
            "two": beside(1, 2),
            "faint": masked(beside(1), slice(None), 0.5),
            "scheduled": [*ranged(beside(1), 0.0, 0.45), *ranged(beside(2), 0.45, 1.0)],
            "overlapping": [*ranged(beside(1), 0.0, 0.65), *ranged(beside(2), 0.35, 1.0)],
            "halves": [*masked(beside(1), slice(0, 96)), *masked(beside(2), slice(96, 192), 2.0)],
            "one at its end": ranged(beside(1), 0.0, 0.7),
        }
        for name, background in backgrounds.items():
            ours = run_node(
                NODE,
                conditioning=background,
                region=ranged(beside(5), *span),
                bboxes=BOX,
                feather=16,
                strength=strength,
                **CANVAS,
            )[0]
            for percent in TIMES:
                alone, now = weights(background, percent), weights(ours, percent)
                if alone:
                    torch.testing.assert_close(sum(now.values()), sum(alone.values()), msg=f"{name} at {percent}")
                share = now.get(5, torch.zeros(64, 192)) / sum(now.values(), torch.tensor(1e-30))
                if alone:
                    active = span[0] <= percent <= span[1]
                    assert share[IN] == pytest.approx(strength * active), f"{name} at {percent}"
                    assert share[OUT] == 0

    def test_behind_a_chain_of_regions_in_turns(self, run_node, beside, weights):
        """Three places that overlap, each at its time, one behind the other."""
        chain = beside(1)
        spans = {5: (0.0, 0.5), 6: (0.25, 0.75), 7: (0.5, 1.0)}
        for seed, span in spans.items():
            place = {**BOX, "x": 40 + 8 * (seed - 5)}
            chain = run_node(
                NODE, conditioning=chain, region=ranged(beside(seed), *span), bboxes=place, feather=4, **CANVAS
            )[0]
        for percent in [*TIMES, 0.25, 0.75]:
            now = weights(chain, percent)
            torch.testing.assert_close(sum(now.values()), torch.ones(64, 192))
            foremost = max(seed for seed, (start, end) in spans.items() if start <= percent <= end)
            assert now[foremost][IN] == pytest.approx(1)

    def test_a_region_of_several_prompts_in_turns(self, run_node, beside, weights):
        """Two that meet in its middle, a pause, and one more: its place is the background's in the pause only."""
        turns = [*ranged(beside(5), 0.0, 0.3), *scheduled(beside(6), 0.3, 0.5), *ranged(beside(7), 0.7, 1.0)]
        ours = run_node(NODE, conditioning=beside(1), region=turns, bboxes=BOX, feather=0, **CANVAS)[0]
        for percent in TIMES:
            now = weights(ours, percent)
            torch.testing.assert_close(sum(now.values()), torch.ones(64, 192))
            assert now[1][IN] == (0.5 < percent < 0.7)
        both = weights(ours, 0.3)
        assert both[5][IN] == both[6][IN] == 0.5

    def test_a_region_takes_only_what_its_own_masks_cover(self, run_node, beside, weights):
        """Of a region whose prompt has a mask, the rest of the place stays the background's; two share one place."""
        half = masked(beside(5), slice(0, 100))
        ours = run_node(NODE, conditioning=beside(1), region=half, bboxes=BOX, feather=0, **CANVAS)[0]
        now = weights(ours, 0.3)
        torch.testing.assert_close(sum(now.values()), torch.ones(64, 192))
        assert now[5][32, 80] == now[1][32, 120] == 1
        two = run_node(NODE, conditioning=beside(1), region=beside(5, 6), bboxes=BOX, strength=0.5, **CANVAS)[0]
        now = weights(two, 0.3)
        assert (now[1][IN], now[5][IN], now[6][IN]) == (0.5, 0.25, 0.25)

    def test_beyond_the_backgrounds_range_a_region_goes_on(self, run_node, beside, weights):
        background = ranged(beside(1), 0.0, 0.4)
        ours = run_node(NODE, conditioning=background, region=ranged(beside(5), 0.2, 0.8), bboxes=BOX, **CANVAS)[0]
        assert weights(ours, 0.6).keys() == {5}
        assert weights(ours, 0.6)[5][IN] == 1
        assert weights(ours, 0.1).keys() == {1}

    def test_a_range_that_is_set_afterwards_holds_for_all_of_it(self, run_node, beside, weights):
        """The host's node replaces ranges; a place is still not counted twice in it."""
        region = ranged(beside(5), 0.0, 0.3)
        ours = run_node(NODE, conditioning=beside(1), region=region, bboxes=BOX, **CANVAS)[0]
        ours = run_node("ConditioningSetTimestepRange", conditioning=ours, start=0.0, end=0.6)[0]
        for percent in (0.1, 0.4):
            torch.testing.assert_close(sum(weights(ours, percent).values()), torch.ones(64, 192))
        assert weights(ours, 0.1)[5][IN] == 1
        assert weights(ours, 0.4)[1][IN] == 1
        assert weights(ours, 0.8) == {}

    def test_default_conditioning_fills_it_in_time_too(self, run_node, small, models, ksampler):
        """After the region's end a run is that of the default alone; the host fills what others leave."""
        default = small.conditioning(1, default=True)
        inputs = {"bboxes": BOX, "feather": 8, **CANVAS}
        region = ranged(small.conditioning(5), 0.0, 0.3)
        ours = run_node(NODE, conditioning=default, region=region, **inputs)[0]
        assert ours[0] is default[0]
        one, other = (
            ksampler(models["eps"], positive=positive, steps=2, denoise=0.5)
            for positive in (ours, small.conditioning(1))
        )
        torch.testing.assert_close(one, other)

    @pytest.mark.parametrize("how", ["sampler", "apply windows"])
    def test_bootstrapped_regions_too(self, how, run_node, small, vae, models, panorama, ksampler, windows):
        """Not asked while they are not active; and cut into pieces, by prompts behind them, they are as whole ones."""
        inputs = {"bboxes": BOX, "feather": 16, "vae": vae, "bootstrap": 1.0, **CANVAS}

        def sample(positive, **run):
            if how == "sampler":
                return panorama(models["eps"], windows(64, 32), positive=positive, steps=3, **run)[0]["samples"]
            model = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=windows(64, 32))[0]
            return ksampler(model, positive=positive, steps=3, **run)

        back, early = small.conditioning(1), ranged(small.conditioning(5), 0.0, 0.3)
        ours = run_node(NODE, conditioning=back, region=early, **inputs)[0]
        agree(sample(ours, denoise=0.5), sample(back, denoise=0.5))
        turns = [*ranged(back, 0.0, 0.65), *ranged(back, 0.35, 1.0)]
        pieces, whole = (
            run_node(NODE, conditioning=behind, region=small.conditioning(5), strength=0.7, **inputs)[0]
            for behind in (turns, back)
        )
        assert len(pieces) > 3
        agree(sample(pieces), sample(whole))


class Watched:
    """A model that keeps what it is asked: (latents, which role, sigma) of each row."""

    def __init__(self, model):
        self.model, self.calls = model.clone(), []
        self.model.set_model_unet_function_wrapper(self._wrapper)

    def _wrapper(self, apply, args):
        roles = args["cond_or_uncond"]
        for role, rows in zip(roles, args["input"].chunk(len(roles)), strict=True):
            self.calls.append((rows.clone(), role, float(args["timestep"][0])))
        return apply(args["input"], args["timestep"], **args["c"])


class Latents:
    """The small VAE with its channels repeated for a model of more of them."""

    def __init__(self, vae, channels):
        self.vae, self.channels = vae, channels

    def encode(self, image):
        latent = self.vae.encode(image).repeat(1, self.channels // 4, 1, 1)
        return latent if self.channels == 4 else latent[:, :, None]

    def spacial_compression_encode(self):
        return 8


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"region": []}, "region: it holds no prompt"),
        ({"conditioning": []}, "conditioning: it holds no prompt"),
        ({"conditioning": [[torch.full((1, 8, 32), math.nan), {}]]}, "conditioning: it holds NaN"),
        (
            {"region": [[torch.ones(1, 8, 32), {"area": (4, 4, 0, 0)}]]},
            r"region: it has an area of its own.*leave that",
        ),
        ({"region": [[torch.ones(1, 8, 32), {"mask": torch.ones(1, 0, 4)}]]}, "region: a mask in it: expected a mask"),
    ],
)
def test_what_is_no_condition_is_refused(conditions, words, run_node, small):
    inputs = {"conditioning": small.conditioning(1), "region": small.conditioning(5), "bboxes": BOX, **conditions}
    with pytest.raises(ValueError, match=words):
        run_node(NODE, **inputs, **CANVAS)


def test_masks_of_conditions_in_other_batches_are_refused(region, small):
    first = region(small.conditioning(1), bboxes=[[BOX]] * 2)
    assert len(region(first, bboxes=[[BOX]] * 2)[0][1]["mask"]) == 2
    with pytest.raises(ValueError, match="conditioning: its masks are a batch of 2 and the region is one of 3"):
        region(first, bboxes=[[BOX]] * 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool])
def test_masks_of_other_kinds_of_numbers_are_masks(dtype, region, small):
    back, front = region(small.conditioning(1), mask=box_mask().to(dtype), feather=0)
    torch.testing.assert_close(front[1]["mask"], box_mask())
    torch.testing.assert_close(back[1]["mask"], 1 - box_mask())


def test_a_mask_that_goes_over_its_ends_is_cut_off(region, small):
    """As one is that was scaled with sharp edges."""
    back, front = region(small.conditioning(1), mask=box_mask() * 1.2 - 0.1, feather=0)
    torch.testing.assert_close(front[1]["mask"], box_mask())
    assert back[1]["mask"].min() == 0


def test_a_region_washed_away_by_its_feather_is_told(run_node, small, host):
    inputs = {"conditioning": small.conditioning(1), "region": small.conditioning(5), "bboxes": BOX, **CANVAS}
    for feather, words in ((4096, True), (16, False)):
        run_node(NODE, feather=feather, **inputs)
        said = [data for _, data in host.server.events if isinstance(data, bytes)]
        assert any(b"much smaller than its feather of 4096 px" in text for text in said) is words


class TestBootstrapping:
    """In the first steps a region's prompt, and the negative one beside it, see the region on a plain colour."""

    def sample(self, how, model, positive, panorama, ksampler, run_node, layout, **inputs):
        if how == "sampler":
            return panorama(model, layout, positive=positive, **inputs)[0]["samples"]
        model = run_node("SyncDiffusionApplyWindows", model=model, windows=layout)[0]
        return ksampler(model, positive=positive, **inputs)

    @pytest.mark.parametrize("width", [192, 64], ids=["one window", "windows"])
    @pytest.mark.parametrize("how", ["sampler", "apply windows"])
    def test_against_each_region_by_itself(
        self, how, width, region, small, vae, models, panorama, ksampler, run_node, windows
    ):
        """The oracle knows nothing of rows or windows: the whole first step by the definition, window by window."""
        model, layout = models["eps"], windows(width, 32)
        positive = region(small.conditioning(1), bboxes=BOX, feather=16, strength=0.75, vae=vae, bootstrap=0.2)
        backdrop, mask = positive[1][1]["syncdiffusion_bootstrap"], positive[1][1]["mask"]
        watched = Watched(model)
        args = (how, watched.model, positive, panorama, ksampler, run_node, layout)
        result = self.sample(*args, steps=1, sampler_name="euler", scheduler="simple")
        place = torch.nn.functional.interpolate(mask[None], (8, 24), mode="bilinear")
        start = next(rows for rows, _, _ in watched.calls)[:1]
        x = start_of(model, 3)
        sigma = watched.calls[0][2]
        assert start.shape[-1] == width // 8
        cells = width // 8
        painted = backdrop_of_the_first_step(backdrop, 3, sigma, model.model)
        total, count = torch.zeros_like(x), torch.zeros(24)
        for left in range(0, 24 - cells + 1, 4):
            part = slice(left, left + cells)
            seen, share = x[..., part], 0.75 * place[..., part]
            inside = place[..., part] >= 0.5
            swapped = torch.where(inside, seen, painted[..., part])
            denoised = torch.zeros_like(seen)
            for rows, weight, seed in ((seen, 1 - share, 1), (swapped, share, 5)):
                denoised += weight * cfg(model, rows, sigma, seed, small)
            total[..., part] += denoised
            count[part] += 1
        agree(result, model.model.process_latent_out(total / count), 1e-4)

    def test_it_ends_where_it_should_and_nowhere_else(self, region, small, vae, models, panorama, windows):
        """Later steps, regions without a VAE and a share of 0 are those of ordinary masks."""
        inputs = {"steps": 5, "scheduler": "simple"}
        background = small.conditioning(1)

        def sample(model=models["eps"], **options):
            return panorama(model, windows(192, 64), positive=region(background, bboxes=BOX, **options), **inputs)

        plain = sample()[0]["samples"]
        torch.testing.assert_close(sample(vae=vae, bootstrap=0.0)[0]["samples"], plain)
        assert not torch.allclose(sample(vae=vae, bootstrap=0.2)[0]["samples"], plain)
        watched = Watched(models["eps"])
        sample(watched.model, vae=vae, bootstrap=0.5)
        levels = [sigma for _, _, sigma in watched.calls]
        rows = [levels.count(sigma) for sigma in dict.fromkeys(levels)]
        assert rows == [4, 4, 4, 3, 3]  # background, region, negative; the latter on the backdrop too

    def test_the_stock_sampler_takes_it_for_a_mask(self, region, small, vae, models, ksampler):
        back = small.conditioning(1)
        one, other = (
            ksampler(models["eps"], positive=region(back, bboxes=BOX, **o), steps=2) for o in ({"vae": vae}, {})
        )
        torch.testing.assert_close(one, other)

    @pytest.mark.parametrize("per_batch", [1, 2])
    def test_batches_do_not_matter(self, per_batch, region, small, vae, models, panorama, windows):
        positive = region(small.conditioning(1), bboxes=BOX, vae=vae, bootstrap=1.0)
        inputs = {"positive": positive, "steps": 2}
        whole = panorama(models["eps"], windows(64, 32), **inputs)[0]["samples"]
        agree(panorama(models["eps"], windows(64, 32), windows_per_batch=per_batch, **inputs)[0]["samples"], whole)

    @pytest.mark.parametrize("how", ["sampler", "apply windows"])
    def test_each_sample_of_a_batch_is_its_own_run(
        self, how, region, small, vae, models, panorama, ksampler, run_node, windows
    ):
        positive = region(small.conditioning(1), bboxes=BOX, vae=vae, bootstrap=1.0)
        args = (how, models["eps"], positive, panorama, ksampler, run_node, windows(64, 32))
        latent = small.empty_latent(192, 64, batch=2)
        both = self.sample(*args, latent_image=latent, steps=2)
        one = {**latent, "samples": latent["samples"][1:], "batch_index": [1]}
        agree(both[1:], self.sample(*args, latent_image=one, steps=2))

    def test_default_conditioning_fills_what_regions_leave(self, region, small, vae, models, panorama, windows):
        """The same background given as default and as itself."""
        first, second = (
            region(background, bboxes=BOX, vae=vae, bootstrap=1.0)
            for background in (small.conditioning(1, default=True), small.conditioning(1))
        )
        one, other = (
            panorama(models["eps"], windows(64, 32), positive=positive, steps=2)[0]["samples"]
            for positive in (first, second)
        )
        agree(one, other)

    @pytest.mark.parametrize("gradient", ["through the model", "forward only"])
    def test_guidance_goes_through_it(self, gradient, region, small, vae, models, panorama, windows, guidance):
        positive = region(small.conditioning(1), bboxes=BOX, vae=vae, bootstrap=1.0)
        guide = guidance(weight=200.0, end_percent=1.0, gradient=gradient)
        inputs = {"positive": positive, "steps": 2}
        plain, _ = panorama(models["eps"], windows(64, 64), **inputs)
        moved, trace = panorama(models["eps"], windows(64, 64), guidance=guide, **inputs)
        assert len(trace.splitlines()) == 2
        assert moved["samples"].isfinite().all()
        assert not torch.equal(plain["samples"], moved["samples"])

    @pytest.mark.parametrize("family", ["flow", "wan"])
    @pytest.mark.parametrize("batch", [1, 2])
    def test_other_families_and_batches(self, family, batch, run_node, small, vae, models, panorama, windows):
        """On a loop: another noise process; latents with a time axis, where the host takes several masks for frames."""
        model, shape = (small.wan_model(), (16, 1)) if family == "wan" else (models["flow"], (4,))
        place = {**BOX, "x": 150} if family == "wan" else [[{**BOX, "x": 150}], [BOX]][:batch]
        inputs = {"conditioning": small.conditioning(1), "region": small.conditioning(5), "bboxes": place, **CANVAS}
        positive = run_node(NODE, vae=Latents(vae, shape[0]), loop=True, **inputs)[0]
        latent = {"samples": torch.zeros(batch, *shape, 8, 24)}
        run = {"latent_image": latent, "steps": 2}
        seen = panorama(model, windows(64, 32, wrap_x=True), positive=positive, **run)[0]["samples"]
        for _, options in positive:
            options.pop("syncdiffusion_bootstrap", None)
        plain = panorama(model, windows(64, 32, wrap_x=True), positive=positive, **run)[0]["samples"]
        assert seen.isfinite().all()
        assert not torch.allclose(seen[-1], plain[-1])

    def test_a_vae_of_another_model_is_named(self, region, small, vae, models, panorama, windows):
        positive = region(small.conditioning(1), bboxes=BOX, vae=vae)
        backdrop = positive[1][1]["syncdiffusion_bootstrap"]
        object.__setattr__(backdrop, "latents", backdrop.latents[:, :3])
        with pytest.raises(ValueError, match="vae: .* 3 channels and the model's latents have 4"):
            panorama(models["eps"], windows(64, 64), positive=positive, steps=2)


def start_of(model, seed):
    """The noised empty canvas."""
    sampling = model.model.model_sampling
    noise = torch.randn(1, 4, 8, 24, generator=torch.manual_seed(seed))
    return noise * math.sqrt(1 + float(sampling.sigma_max) ** 2)


def backdrop_of_the_first_step(backdrop, seed, sigma, base):
    """The whole canvas in the colour that this seed draws, noised by what it draws next."""
    generator = torch.Generator().manual_seed(seed)
    latent = backdrop.latents[torch.randint(16, (), generator=generator)].reshape(1, 4, 1, 1)
    return base.process_latent_in(latent) + sigma * torch.randn(1, 4, 8, 24, generator=generator)


@torch.inference_mode()
def cfg(model, x, sigma, seed, small):
    """CFG 4 of one prompt against the negative one, by the network alone."""
    base, level = model.model, torch.tensor([sigma])
    cond, uncond = (base.apply_model(x, level, c_crossattn=small.conditioning(s)[0][0]) for s in (seed, 2))
    return uncond + 4.0 * (cond - uncond)


class OneObject(torch.nn.Module):
    """The exact denoiser of a small world: plain pictures of noise, with an object in one of six places for a prompt.

    A prompt whose tokens are above 0 asks for the object. Data outside it is normal with deviation TAU, inside it is
    VALUE; places are 4 cells wide and as likely as each other.
    """

    VALUE, TAU, PLACE = 1.5, 0.5, 4

    def __init__(self, sampling):
        super().__init__()
        self.dtype, self._sigma = torch.float32, sampling.sigma

    def forward(self, x, timesteps=None, context=None, **kwargs):
        sigma = self._sigma(timesteps).reshape(-1, 1, 1, 1)
        x = x * (1 + sigma**2).sqrt()  # the host scales a model's input
        plain = x * self.TAU**2 / (self.TAU**2 + sigma**2)
        object_, nothing = (x - self.VALUE) ** 2 / sigma**2, x**2 / (sigma**2 + self.TAU**2)
        evidence = ((nothing - object_) / 2).unflatten(-1, (-1, self.PLACE)).sum(dim=(1, 2, 4))  # [N, places]
        where = evidence.softmax(dim=1) * (context[:, :1, 0] > 0)
        where = where.repeat_interleave(self.PLACE, dim=1)[:, None, None, :]
        return (x - (where * self.VALUE + (1 - where) * plain)) / sigma


def test_an_object_comes_out_in_its_region_more_often(region, small, vae, panorama, windows, run_node):
    """256 canvases: where the model would lay the object elsewhere, bootstrapping leaves it the region."""
    from comfy.model_base import ModelType

    model = small.unet_model(ModelType.EPS)
    model.model.diffusion_model = OneObject(model.model.model_sampling)
    nothing, an_object = ([[torch.full((1, 8, 32), value), {}]] for value in (-1.0, 1.0))
    place = {"x": 64, "y": 0, "width": 32, "height": 64}

    def share(bootstrap):
        inputs = {"conditioning": nothing, "region": an_object, "bboxes": place, "vae": vae, **CANVAS}
        positive = run_node(NODE, feather=0, bootstrap=bootstrap, **inputs)[0]
        latent = small.empty_latent(192, 64, batch=256)
        schedule = {"sampler_name": "ddim", "scheduler": "ddim_uniform", "steps": 25, "cfg": 1.0}
        run = {"positive": positive, "negative": nothing, "latent_image": latent, **schedule}
        result = model.model.process_latent_in(panorama(model, windows(192, 192), **run)[0]["samples"])
        return float((result[..., 8:12].mean(dim=(1, 2, 3)) > OneObject.VALUE / 2).float().mean())

    assert share(0.4) > share(0.0) + 0.05
