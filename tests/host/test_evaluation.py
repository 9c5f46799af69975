"""Panorama Coherence and Compare Panoramas with a distance whose figures can be said in advance."""

import pytest
import torch

SIDE = 32


class Brightness(torch.nn.Module):
    """Distance of mean brightness."""

    constant = 1.0

    def features(self, image):
        return (image.mean(dim=(1, 2, 3)),)

    def distance(self, features, anchor):
        return (features[0] - anchor[0]).abs()


@pytest.fixture
def brightness(module_of):
    return module_of("host.gradient.perceptual").PerceptualModel.wrap(Brightness(), "brightness")


def stripes(*levels: float, tall: bool = False, rest: int = 0) -> torch.Tensor:
    """IMAGE [1, H, W, 3]: square stripes of one brightness each, and rest columns of the last."""
    line = torch.tensor(levels).repeat_interleave(SIDE)
    line = torch.cat([line, line[-1:].expand(rest)])
    image = line[None, None, :, None].expand(1, SIDE, -1, 3)
    return (image.transpose(1, 2) if tall else image).contiguous()


@pytest.fixture
def measure(run_node, brightness):
    """measure(image) -> (intra_distance, seam, report, heat_map, disagreeing)."""
    return lambda image, window_size=SIDE: run_node(
        "SyncDiffusionCoherence", image=image, perceptual_model=brightness, window_size=window_size
    )


@pytest.fixture
def compare(run_node, brightness):
    """compare(image_a, image_b, …) -> (comparison, difference, report)."""
    return lambda image_a, image_b, **inputs: run_node(
        "SyncDiffusionCompare",
        image_a=image_a,
        image_b=image_b,
        perceptual_model=brightness,
        **{"window_size": SIDE, **inputs},
    )


ODD = (0.2, 0.2, 0.8, 0.2, 0.2, 0.2)  # window 3; the mean of the 15 pairs is 5 * 0.6 / 15


class TestCoherence:
    """Panorama Coherence."""

    @pytest.mark.parametrize("tall", [False, True])
    def test_figures_and_the_odd_window(self, measure, tall):
        intra, _, report, heat_map, disagreeing = measure(stripes(*ODD, tall=tall))
        assert intra == pytest.approx(0.2, abs=1e-5)
        assert report.startswith("panorama 1: intra distance 0.2000 over 6 windows, seam ")
        assert report.endswith("; window 3 disagrees (on average 0.6000 from the others; a middle one 0.1200)")
        for picture in (heat_map, disagreeing):
            assert picture.shape[0] == 1
            assert picture.shape[-1] == 3
            assert picture.dtype == torch.float32
            assert 0 <= picture.min() <= picture.max() <= 1

    @pytest.mark.parametrize("tall", [False, True])
    def test_the_odd_window_keeps_its_light_and_the_others_lose_it(self, measure, tall):
        (picture,) = measure(stripes(*ODD, tall=tall))[4]
        title = picture.shape[0] - 768 if tall else 2 * (picture.shape[0] - 128) // 5  # two lines above, three below
        middles = [(64, 128 * k + 64)[:: -1 if tall else 1] for k in range(6)]
        light = [float(picture[title + y, x].mean()) for y, x in middles]
        assert light[2] == pytest.approx(0.8, abs=0.01)
        assert [light[k] for k in (0, 1, 3, 4, 5)] == pytest.approx([0.42 * 0.2] * 5, abs=0.01)

    def test_two_odd_windows_are_named_together(self, measure):
        report = measure(stripes(0.2, 0.8, 0.2, 0.2, 0.9, 0.2, 0.2))[2]
        assert "windows 2 and 5 disagree (on average " in report

    def test_a_coherent_panorama_has_none(self, measure):
        report, disagreeing = (measure(stripes(0.4, 0.4, 0.4))[k] for k in (2, 4))
        assert "no single window disagrees" in report
        assert (disagreeing - 0.4).abs().min() < 0.005, "the picture is dimmed"

    @pytest.mark.parametrize(
        ("levels", "said", "title"),
        [
            ((0.4, 0.4, 0.4), "disagrees with the others: all look alike", "All windows look alike"),
            ((0.1, 0.4, 0.7, 1.0), "for all differ from each other", "All windows differ from each other"),
            ((0.0, 0.2, 0.4, 1.0), "and the others differ from each other too", "All windows differ from each other"),
            ((0.2, 0.2, 0.8, 0.8), "2 looks (windows 1 and 2; 3 and 4)", "2 looks among 4 windows"),
            ((0.2, 0.8, 0.2, 0.8), "2 looks (windows 1 and 3; 2 and 4)", "2 looks among 4 windows"),
            ((0.1, 0.9) * 7, "with the others, but they have 2 looks; ", "2 looks among 14 windows"),
            (
                tuple(k / 20 for k in range(20)),
                "windows 1 and 20 disagree",
                "2 of 20 windows disagree, and the others have 6 looks",
            ),
            ((0.2, 0.25), "; both windows look alike", "Both windows look alike"),
            ((0.2, 0.8), "; the two windows differ", "The two windows differ"),
            ((0.2, 0.2, 0.8), "window 3 disagrees", "1 of 3 windows disagrees"),
            ((0.5,), "one window only", "One window: nothing to compare"),
        ],
    )
    def test_a_coherent_panorama_is_told_from_one_whose_windows_all_differ(
        self, measure, module_of, monkeypatch, levels, said, title
    ):
        drawn, node = [], module_of("coherence")
        draw = node.draw_windows
        monkeypatch.setattr(node, "draw_windows", lambda *args: drawn.append(args[1]) or draw(*args))
        report = measure(stripes(*levels))[2]
        assert said in f"{report}; "
        assert drawn == [title]

    def test_a_network_whose_distances_were_not_measured_promises_nothing(self, measure, module_of, monkeypatch):
        monkeypatch.setattr(module_of("host.panoramas").core, "look_distance", lambda network: None)
        for levels in ((0.4, 0.4, 0.4), (0.1, 0.5, 0.9), (0.2, 0.8)):
            report = measure(stripes(*levels))[2]
            assert "alike" not in report
            assert "differ" not in report

    @pytest.mark.parametrize("kind", ["scene (built in)", "scene style (built in)"])
    def test_scenes_of_the_demo_by_its_own_network(self, run_node, kind):
        """One place in one light, and in four."""
        from demo.scenes import render

        network = run_node("SyncDiffusionLoadPerceptualModel", perceptual_name=kind)[0]

        def report(*times: str) -> str:
            windows = [torch.from_numpy(render(10_000_000, time, "lake", 512)) for time in times]
            panorama = torch.cat([window[:, 128 * k : 128 * (k + 1)] for k, window in enumerate(windows)], dim=1)
            inputs = {"image": panorama[None].float() / 255, "perceptual_model": network, "window_size": 128}
            return run_node("SyncDiffusionCoherence", **inputs)[2]

        assert "all look alike" in report("noon", "noon", "noon", "noon")
        assert "differ from each other" in report("dawn", "noon", "sunset", "night")
        assert "2 looks (windows 1 and 2; 3 and 4)" in report("noon", "noon", "night", "night")

    def test_a_batch_has_one_scale_and_one_size(self, measure):
        """The same panorama's heat map is darker beside one that differs more."""
        mild, strong = stripes(0.2, 0.3, 0.2, 0.2), stripes(0.0, 1.0, 0.5, 0.2)
        alone = measure(mild)[3]
        intra, _, report, heat_map, disagreeing = measure(torch.cat([mild, strong]))
        assert len(heat_map) == len(disagreeing) == len(report.splitlines()) == 2
        assert heat_map.shape[1:] == alone.shape[1:]
        assert heat_map[0].mean() < alone[0].mean()
        both = [measure(image)[0] for image in (mild, strong)]
        assert intra == pytest.approx(sum(both) / 2, abs=1e-5)

    def test_one_window_is_a_sentence(self, measure):
        intra, _, report, heat_map, disagreeing = measure(stripes(0.2, 0.8), window_size=512)
        assert intra == 0.0
        assert "one window only, so nothing to compare (choose a smaller window_size)" in report
        assert heat_map.isfinite().all()
        assert disagreeing.isfinite().all()

    def test_two_windows_blame_neither(self, measure):
        intra, _, report, *_ = measure(stripes(0.2, 0.8))
        assert intra == pytest.approx(0.6, abs=1e-5)
        assert "disagree" not in report

    @pytest.mark.parametrize(("tall", "edge"), [(False, "right"), (True, "bottom")])
    def test_says_what_it_leaves_out(self, measure, tall, edge):
        intra, _, report, *_ = measure(stripes(0.2, 0.8, 0.2, tall=tall, rest=11))
        assert intra == pytest.approx(0.4, abs=1e-5)
        assert f"the last 11 px at the {edge} belong to no window and are left out" in report
        assert "left out" not in measure(stripes(0.2, 0.8, 0.2, tall=tall))[2]

    def test_alpha_is_left_aside(self, measure):
        image = stripes(*ODD)
        with_alpha = torch.cat([image, torch.zeros_like(image[..., :1])], dim=-1)
        assert measure(with_alpha)[0] == measure(image)[0]

    def test_very_many_windows_have_pictures_too(self, measure):
        *_, heat_map, disagreeing = measure(stripes(*torch.linspace(0, 1, 100).tolist()))
        assert max(heat_map.shape) < 1200
        assert disagreeing.shape[2] == 100 * SIDE

    def test_a_style_network_has_its_own_least_difference(self, module_of):
        panoramas = module_of("host.panoramas")
        assert panoramas.least_difference(panoramas.StyleNet()) < panoramas.least_difference(Brightness()) / 100


class TestCompare:
    """Compare Panoramas."""

    def test_says_which_is_more_coherent(self, compare):
        picture, difference, report = compare(stripes(*ODD), stripes(0.2, 0.2, 0.3, 0.2, 0.2, 0.2))
        assert difference == pytest.approx(0.2 / 6 - 0.2, abs=1e-5)
        lines = report.splitlines()
        assert lines[0] == "pair 1: B is more coherent, by 0.1667 (83%)"
        assert lines[1].startswith("  A: intra distance 0.2000 over 6 windows")
        assert lines[2].startswith("  B: intra distance 0.0333 over 6 windows")
        assert len(lines) == 3
        assert picture.shape[0] == 1
        assert picture.shape[2] == 768

    def test_sides_swapped_change_the_sign_only(self, compare):
        one, other = stripes(*ODD), stripes(0.2, 0.3, 0.2)
        there, back = compare(one, other), compare(other, one)
        assert there[1] == pytest.approx(-back[1], abs=1e-5)
        assert "pair 1: B is more coherent" in there[2]
        assert "pair 1: A is more coherent" in back[2]

    def test_names(self, compare):
        report = compare(stripes(*ODD), stripes(0.2, 0.3), name_a="weight 0", name_b="  \u7e4b\u304e ")[2]
        assert "pair 1: \u7e4b\u304e is more coherent" in report
        assert "  weight 0: intra" in report
        assert "pair 1: B is" in compare(stripes(*ODD), stripes(0.2, 0.3), name_a="", name_b=" ")[2]

    def test_batches_are_compared_one_by_one(self, compare):
        ones = torch.cat([stripes(0.2, 0.8), stripes(0.2, 0.3)])
        others = torch.cat([stripes(0.2, 0.4), stripes(0.2, 0.9)])
        picture, difference, report = compare(ones, others)
        assert len(picture) == 2
        assert difference == pytest.approx(((0.2 - 0.6) + (0.7 - 0.1)) / 2, abs=1e-5)
        assert [line for line in report.splitlines() if line.startswith("pair")] == [
            "pair 1: B is more coherent, by 0.4000 (67%)",
            "pair 2: A is more coherent, by 0.6000 (86%)",
        ]

    @pytest.mark.parametrize("swap", [False, True])
    def test_one_is_compared_with_many(self, compare, swap):
        one, many = stripes(0.2, 0.5), torch.cat([stripes(0.2, 0.4), stripes(0.2, 0.9), stripes(0.2, 0.5)])
        picture, difference, report = compare(many, one) if swap else compare(one, many)
        assert len(picture) == 3
        assert abs(difference) == pytest.approx((0.2 + 0.7 + 0.3) / 3 - 0.3, abs=1e-5)
        assert "pair 3: equally coherent" in report

    def test_other_counts_are_refused(self, compare):
        two, three = stripes(0.2, 0.5).expand(2, -1, -1, -1), stripes(0.2, 0.5).expand(3, -1, -1, -1)
        with pytest.raises(ValueError, match=r"image_b: 3 panoramas to compare with the 2 of image_a; give as many"):
            compare(two, three)

    def test_sizes_may_differ(self, compare):
        picture, difference, report = compare(stripes(*ODD), stripes(0.2, 0.2, 0.8))
        assert difference == pytest.approx(0.4 - 0.2, abs=1e-5)
        assert "sizes: A 192 x 32 px and B 96 x 32 px; scaled for the picture only" in report
        assert "sizes" not in compare(stripes(*ODD), stripes(*ODD))[2]
        assert picture.shape[2] == 768

    def test_tall_ones_stand_beside_one_another(self, compare):
        wide = compare(stripes(*ODD), stripes(*ODD))[0]
        tall = compare(stripes(*ODD, tall=True), stripes(*ODD, tall=True))[0]
        assert wide.shape[2] == 768 > wide.shape[1]
        assert tall.shape[1] > 768 > tall.shape[2]

    def test_a_wide_and_a_tall_one_are_drawn_too(self, compare):
        picture, difference, _ = compare(stripes(*ODD), stripes(*ODD, tall=True))
        assert difference == pytest.approx(0.0, abs=1e-5)
        assert picture.isfinite().all()

    @pytest.mark.parametrize("swap", [False, True])
    def test_a_panorama_of_one_window_wins_nothing(self, compare, swap):
        pair = stripes(*ODD), stripes(0.5)
        picture, difference, report = compare(*(pair[::-1] if swap else pair))
        assert difference == 0.0
        assert "no verdict, for a panorama of one window has nothing to compare" in report
        assert picture.isfinite().all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 64, 128, 1), r"expected pictures \[N, H, W, 3\], got shape \(1, 64, 128, 1\)"),
        (torch.zeros(64, 128, 3), r"expected pictures \[N, H, W, 3\], got shape \(64, 128, 3\)"),
        (torch.zeros(0, 64, 128, 3), r"expected pictures .*connect an IMAGE"),
        (torch.zeros(1, 16, 128, 3), r"it is 128 x 16 px and the perceptual networks need 32 px"),
        (torch.full((1, 64, 128, 3), torch.nan), r"it holds NaN or infinite values"),
        (torch.full((1, 64, 128, 3), torch.inf), r"it holds NaN or infinite values"),
    ],
)
def test_corrupt_pictures_are_refused_by_socket(measure, compare, image, message):
    fine = stripes(0.2, 0.8)
    with pytest.raises(ValueError, match=f"^image: {message}"):
        measure(image)
    with pytest.raises(ValueError, match=f"^image_a: {message}"):
        compare(image, fine)
    with pytest.raises(ValueError, match=f"^image_b: {message}"):
        compare(fine, image)


def test_both_nodes_show_their_picture_and_their_words(run_graph, brightness):
    link = {"perceptual_model": ["network", 0], "window_size": SIDE}
    sides = {"image_a": ["picture", 0], "image_b": ["picture", 0], "name_a": "one", "name_b": "other"}
    graph = {
        "coherence": {"class_type": "SyncDiffusionCoherence", "inputs": {"image": ["picture", 0], **link}},
        "compare": {"class_type": "SyncDiffusionCompare", "inputs": {**sides, **link}},
    }
    run = run_graph(graph, picture=stripes(*ODD), network=brightness)
    for node_id, words in (("coherence", "window 3 disagrees"), ("compare", "equally coherent")):
        (text,), images = run.ui[node_id]["text"], run.ui[node_id]["images"]
        assert words in text
        assert [image["type"] for image in images] == ["temp"]


def test_a_real_network_runs(run_node, perceptual):
    """The figures of the core, on the host's device."""
    image = torch.rand(2, 64, 256, 3, generator=torch.Generator().manual_seed(0))
    outputs = run_node("SyncDiffusionCoherence", image=image, perceptual_model=perceptual, window_size=64)
    from syncdiffusion_core.metrics.coherence import coherence

    wanted = [coherence(picture.movedim(-1, 0), perceptual.network, 64).intra for picture in image]
    assert outputs[0] == pytest.approx(sum(wanted) / 2, rel=1e-4)
