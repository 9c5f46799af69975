"""Gaussian splats through nodes: against the host's renderer, painted by View Sampler, and baked into files."""

import math
from types import SimpleNamespace

import comfy.model_management
import pytest
import torch
from heard import said

VIEWS = "SyncDiffusionSplatViews"
BAKE = "SyncDiffusionBakeViewsToSplat"
DC = 0.28209479177387814


def ball(count: int, least: float = 0.5, seed: int = 0, orders: int = 1) -> object:
    """SPLAT of a bent ball covered by flat splats, in smooth colours."""
    from comfy_api.latest import Types

    generator = torch.Generator().manual_seed(seed)
    out = torch.randn(count, 3, generator=generator)
    out = out / out.norm(dim=1, keepdim=True)
    positions = out * (1 + 0.2 * torch.sin(3 * out[:, :1]) * torch.cos(4 * out[:, 1:2]))
    shape = torch.tensor([1.0, 1.0, 0.3])
    scales = math.sqrt(4 * math.pi / count) * (0.6 + 0.4 * torch.rand(count, 3, generator=generator)) * shape
    up = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    rotations = torch.cat([1 + out[:, 2:], torch.linalg.cross(up, out)], dim=1)
    rotations = rotations / rotations.norm(dim=1, keepdim=True)
    opacities = least + (1 - least) * torch.rand(count, 1, generator=generator)
    directions = torch.tensor([[1.0, 0.3, 0.2], [-0.3, 1.0, 0.4], [0.6, 0.2, -1.0]])
    sh = 0.1 * torch.randn(count, orders, 3, generator=generator)
    sh[:, 0] = 0.5 * torch.sin(3 * positions @ directions + torch.tensor([0.0, 1.0, 2.0])) / DC
    return Types.SPLAT(positions[None], scales[None], rotations[None], opacities[None], sh[None])


def changed(splat: object, **parts: object) -> object:
    return type(splat)(**{**vars(splat), **parts})


def db(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * torch.log10((one - other).square().mean()))


@pytest.fixture
def rig(run_node):
    """RIG of eight cameras of 40 degrees, six around and one above and below."""
    return run_node("SyncDiffusionCameraRig", rig="ring and poles", count=6, fov=40.0)[0]


@pytest.fixture
def views(run_node, rig):
    """views(splat, **widgets) -> outputs of Splat Views by name, 64 px unless told otherwise."""

    def make(splat: object, **widgets: object) -> SimpleNamespace:
        given = {"rig": rig, "view_size": 64, **widgets}
        return SimpleNamespace(
            **dict(
                zip(("views", "count", "depth", "mask", "pictures"), run_node(VIEWS, splat=splat, **given), strict=True)
            )
        )

    return make


@pytest.fixture
def bake(run_node):
    """bake(views, splat, images, **widgets) -> SPLAT."""
    return lambda views, splat, images, **widgets: run_node(BAKE, views=views, splat=splat, images=images, **widgets)[0]


@pytest.fixture
def render(run_node):
    """render(splat, camera, size) -> (IMAGE, MASK) of the host's own renderer, in front of grey, not sharpened."""

    def make(splat: object, camera: dict, size: int) -> tuple:
        given = {"frames": 1, "sharpen": 1.0, "render_style": "color", "background": "#808080"}
        return run_node("RenderSplat", splat=splat, width=size, height=size, camera_info=camera, **given)

    return make


@pytest.fixture
def camera(host):
    """camera(yaw, pitch, target, distance, fov) -> LOAD3D_CAMERA of Create Camera Info."""
    splats = pytest.importorskip("comfy_extras.nodes_gaussian_splat", reason="this ComfyUI has no splats")

    def make(yaw: float, pitch: float, target: list[float], distance: float, fov: float) -> dict:
        mode = {"mode": "orbit", "yaw": yaw, "pitch": pitch, "distance": distance}
        at = {f"target_{axis}": value for axis, value in zip("xyz", target, strict=True)}
        return splats.CreateCameraInfo.execute(mode=mode, **at, roll=10.0, fov=fov).args[0]

    return make


class TestHostsRenderer:
    """The host's pictures, of the same camera; it mixes what lies within a thousandth of the splats in depth."""

    SIZE, FOV = 256, 40.0

    @pytest.fixture
    def both(self, core_of, run_node, camera, render):
        """both(splat, K) -> (our picture, the host's, our opacity, the host's)."""
        splats, spec = core_of("canvases.splats"), core_of("canvases.splat_spec")
        light = core_of("canvases.light")

        def make(splat: object, count: int, module: object) -> tuple:
            given = module.splats_of(splat)
            middle = core_of("canvases.splats").ball_of(given.positions).centre.tolist()
            info = camera(35.0, 20.0, middle, 4.0, self.FOV)
            image, mask = render(splat, info, self.SIZE)
            # The host's pixels lie at integers around the middle: those of a picture one pixel wider.
            wide = 2 * math.atan((self.SIZE + 1) / self.SIZE * math.tan(math.radians(self.FOV) / 2))
            rig = run_node("SyncDiffusionCameraRig", camera_1=info)[0]
            around = splats.scene(given, type(rig)(rig.rotations, wide), 4.0)
            looks = list(around.looks((self.SIZE + 1, self.SIZE + 1), count))
            ours = spec.pictures(looks, light.to_light(module.colours_of(splat)))
            return ours[0, :-1, :-1], image[0], looks[0].opacity[:-1, :-1], mask[0]

        return make

    def test_the_same_picture(self, both, module_of):
        """Measured with the strongest 4, 8, 16 and 32 splats of a pixel: 28.5, 32.1, 38.2 and 40.4 dB."""
        splat, module = ball(12000), module_of("host.splats")
        for count, least in ((4, 27), (8, 31), (16, 37), (32, 39)):
            ours, theirs, opacity, mask = both(splat, count, module)
            assert db(ours, theirs) > least
        assert float((opacity - mask).abs().mean()) < 1e-3


class TestSplatViews:
    """Views, hints and pictures."""

    def test_what_comes_out(self, views, host):
        made = views(ball(1500))
        assert made.count == len(made.views.scene) == 8
        assert tuple(made.depth.shape) == tuple(made.pictures.shape) == (8, 64, 64, 3)
        assert tuple(made.mask.shape) == (8, 64, 64)
        assert "1500 splats, 100% of which are seen by the 8 views" in said(host)
        shown = made.mask > 0.5
        assert not made.depth[~shown].any()
        assert float(made.depth[shown].min()) == pytest.approx(0.1)
        assert float(made.depth.max()) == 1
        assert (made.pictures[made.mask == 0] - 0.5).abs().max() < 1e-5

    def test_a_nearer_camera_sees_more_of_less(self, views):
        near, far = (views(ball(500), distance=distance).mask.mean() for distance in (3.0, 6.0))
        assert near > 2 * far

    def test_the_first_of_a_batch(self, views, host):
        one, other = ball(300), ball(500, seed=1)
        filled = {
            part: torch.cat(
                [
                    torch.nn.functional.pad(getattr(one, part), (*[0] * 2 * (getattr(one, part).ndim - 2), 0, 200)),
                    getattr(other, part),
                ]
            )
            for part in ("positions", "scales", "rotations", "opacities", "sh")
        }
        made = views(type(one)(**filled, counts=torch.tensor([300, 500])))
        assert "splat: it is a batch of 2, of which the first is taken" in said(host)
        assert torch.equal(made.pictures, views(one).pictures)

    def test_few_splats_of_many_are_warned_of(self, views, host):
        views(ball(1500, least=0.1), splats_per_pixel=2)
        assert "raise splats_per_pixel" in said(host)

    def test_half_precision(self, views):
        splat = ball(300)
        half = type(splat)(
            *(getattr(splat, part).half() for part in ("positions", "scales", "rotations", "opacities", "sh"))
        )
        assert (views(half).pictures - views(splat).pictures).abs().mean() < 0.01

    @pytest.mark.parametrize(
        ("part", "value", "words"),
        [
            ("positions", torch.full((1, 50, 3), math.nan), "splat: its positions hold NaN"),
            ("sh", torch.full((1, 50, 1, 3), math.inf), "splat: its colours hold NaN"),
            ("scales", torch.full((1, 50, 3), -4.0), "splat: its scales go down to -4"),
            ("opacities", torch.full((1, 50, 1), 3.0), "splat: its opacities go from 3 to 3"),
            ("opacities", torch.zeros(1, 50, 1), "splat: none of its splats is opaque enough"),
            ("positions", torch.zeros(1, 50, 3), "splat: its splats are all in one place"),
            ("positions", torch.zeros(1, 40, 3), "splat: its parts do not fit each other"),
            ("positions", torch.zeros(50, 3), "splat: these are no splats"),
            ("counts", torch.tensor([0]), "splat: it holds no splats"),
            ("rotations", torch.zeros(1, 50, 3), r"splat: its rotations must be \[50, 4\]"),
        ],
    )
    def test_refused(self, views, part, value, words):
        with pytest.raises(ValueError, match=words):
            views(changed(ball(50), **{part: value}))

    def test_other_things_are_refused(self, views, run_node):
        with pytest.raises(ValueError, match="splat: nothing is connected"):
            views(None)
        with pytest.raises(ValueError, match="splat: these are no splats; connect Get Splat"):
            views({"positions": 1})
        with pytest.raises(ValueError, match="rig: these are no cameras"):
            views(ball(50), rig="ring")
        with pytest.raises(ValueError, match="distance: it must be between"):
            views(ball(50), distance=math.nan)

    def test_more_than_memory_holds_is_refused(self, views, monkeypatch):
        monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *device: 2**30)
        with pytest.raises(ValueError, match="view_size: 8 views of 512 px with 64 .* need 4.0 GiB .* and 1.0 GiB are"):
            views(ball(50), view_size=512, splats_per_pixel=64)

    def test_huge_and_far_splats_are_borne(self, views):
        splat = ball(200)
        positions, scales = splat.positions.clone(), splat.scales.clone()
        positions[0, 0], scales[0, 1], scales[0, 2] = 1e6, 1e4, 1e-9
        made = views(changed(splat, positions=positions, scales=scales))
        assert made.pictures.isfinite().all()
        assert made.depth.isfinite().all()


class TestSampling:
    """View Sampler on them."""

    @pytest.mark.parametrize("space", ["latents", "pictures"])
    def test_views_become_one_set_of_colours(self, models, vae, views, view_sampler, bake, space):
        splat = ball(400)
        made = views(splat, agree_in=space)
        samples, canvas, _ = view_sampler(models["eps"], made.views, vae=vae, steps=3)
        assert tuple(samples.shape) == (8, 4, 8, 8)
        assert tuple(canvas.shape) == (8, 64, 64, 3), "what the cameras see of it"
        assert canvas.isfinite().all()
        painted = bake(made.views, splat, canvas)
        again = views(painted).pictures
        solid = made.mask > 0.9
        assert db(again[solid], canvas[solid]) > 25

    @pytest.mark.parametrize("strategy", ["multidiffusion", "canonical_noise", "canonical_clean"])
    def test_a_canvas_has_no_background(self, models, views, view_sampler, strategy):
        with pytest.raises(ValueError, match="synchronisation: .* the background of these views lies on none"):
            view_sampler(models["eps"], views(ball(400), agree_in="latents").views, synchronisation=strategy)

    @pytest.mark.parametrize("strategy", ["view_noise", "synctweedies"])
    def test_strategies_of_views(self, models, views, view_sampler, strategy):
        made = views(ball(400), agree_in="latents")
        samples, _, _ = view_sampler(models["v"], made.views, synchronisation=strategy, steps=2)
        assert samples.isfinite().all()

    @pytest.mark.parametrize("anchor", ["centre window", "mean of all windows", "neighbouring windows"])
    def test_guidance(self, models, vae, views, view_sampler, guidance, anchor):
        made = views(ball(400), agree_in="latents")
        plain, _, _ = view_sampler(models["eps"], made.views, vae=vae)
        moved, _, trace = view_sampler(models["eps"], made.views, vae=vae, guidance=guidance(anchor=anchor))
        assert moved.isfinite().all()
        assert not torch.equal(plain, moved)
        assert trace

    def test_an_edit_starts_from_the_pictures(self, models, vae, views, view_sampler, run_node):
        made = views(ball(400))
        latent = run_node("VAEEncode", pixels=made.pictures, vae=vae)[0]
        given = {"vae": vae, "latent_image": latent, "denoise": 0.4}
        samples, _, _ = view_sampler(models["eps"], made.views, **given)
        assert samples.isfinite().all()

    def test_sizes_that_the_model_cannot_have(self, models, views, view_sampler):
        with pytest.raises(ValueError, match="view_height must be a multiple of 8 px for this model, got 68"):
            view_sampler(models["eps"], views(ball(50), view_size=68).views)

    def test_panoramas_do_not_take_them(self, models, views, panorama):
        with pytest.raises(ValueError, match="windows: these are no windows"):
            panorama(models["eps"], views(ball(50)).views)


class TestBake:
    """Pictures as colours."""

    def test_known_colours_come_back(self, views, bake):
        splat = ball(1500, orders=4)
        made = views(splat, view_size=96)
        pale = changed(splat, sh=torch.zeros_like(splat.sh))
        found = {}
        for method in ("mean", "least squares"):
            painted = bake(made.views, pale, made.pictures, method=method)
            found[method] = db(views(painted, view_size=96).pictures, made.pictures)
            assert not painted.sh[:, :, 1:].any()
        assert found["mean"] > 23
        assert found["least squares"] > 34

    def test_only_colours_change(self, views, bake):
        splat = ball(200, orders=4)
        made = views(splat)
        for directions, wanted in (("cleared", torch.zeros_like(splat.sh[:, :, 1:])), ("kept", splat.sh[:, :, 1:])):
            painted = bake(made.views, splat, made.pictures, directions=directions)
            for part in ("positions", "scales", "rotations", "opacities"):
                assert torch.equal(getattr(painted, part), getattr(splat, part))
            assert torch.equal(painted.sh[:, :, 1:], wanted)
            assert painted.sh.dtype == torch.float32
            assert not torch.equal(painted.sh[:, :, 0], splat.sh[:, :, 0])

    def test_a_colour_is_its_coefficient(self, views, bake):
        splat = ball(200)
        made = views(splat)
        red = torch.tensor([1.0, 0.5, 0.0]).expand(8, 64, 64, 3)
        wanted = (torch.tensor([1.0, 0.5, 0.0]) - 0.5) / DC
        torch.testing.assert_close(bake(made.views, splat, red).sh[0, :, 0], wanted.expand(200, 3), atol=1e-3, rtol=0)

    def test_what_no_view_sees(self, run_node, views, bake):
        """One camera, so that the back is not seen."""
        rig = run_node("SyncDiffusionCameraRig", rig="ring", count=1, fov=40.0)[0]
        splat = ball(600, least=0.9)
        made = views(splat, rig=rig)
        green = torch.tensor([0.0, 1.0, 0.0]).expand(1, 64, 64, 3)
        kept = bake(made.views, splat, green, unseen="kept")
        same = (kept.sh == splat.sh).all(dim=-1).all(dim=-1)[0]
        assert 0.1 < same.float().mean() < 0.9
        beside = bake(made.views, splat, green)
        colours = beside.sh[0, :, 0] * DC + 0.5
        torch.testing.assert_close(colours, torch.tensor([0.0, 1.0, 0.0]).expand(600, 3), atol=1e-3, rtol=0)

    def test_pictures_of_another_size_and_of_several_samples(self, views, bake, host):
        splat = ball(300)
        made, finer = views(splat), views(splat, view_size=96)
        large = bake(made.views, splat, finer.pictures)
        assert torch.equal(large.sh, bake(finer.views, splat, finer.pictures).sh)
        both = torch.stack([made.pictures, 1 - made.pictures], dim=1).flatten(0, 1)
        assert torch.equal(bake(made.views, splat, both).sh, bake(made.views, splat, made.pictures).sh)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"images": torch.rand(3, 64, 64, 3)}, "images: a batch of 3 pictures for 8 views"),
            ({"images": torch.rand(8, 64, 32, 3)}, "images: the views are square, and these are 32 x 64 px"),
            ({"images": torch.full((8, 64, 64, 3), math.nan)}, "images: it holds NaN"),
            ({"splat": ball}, "splat: these are no splats"),
            ({"splat": None}, "splat: nothing is connected"),
            ({"views": "ring"}, "views: these are no views of splats"),
            ({"views": None}, "views: nothing is connected"),
            ({"steps": 0}, "steps: it must be between 1 and 100"),
        ],
    )
    def test_refused(self, views, bake, given, words):
        splat = ball(60)
        made = views(splat)
        with pytest.raises(ValueError, match=words):
            bake(**{"views": made.views, "splat": splat, "images": made.pictures, **given})

    def test_other_splats_are_refused(self, views, bake):
        made = views(ball(60))
        with pytest.raises(ValueError, match="splat: it has 61 splats and those of the views are 60"):
            bake(made.views, ball(61), made.pictures)


def test_a_file_there_and_back(views, bake, run_node):
    """As people do it: a file, its views, their pictures, and a file again."""
    splat = ball(800)
    file = run_node("SplatToFile3D", splat=splat, format="ply")[0]
    loaded = run_node("File3DToSplat", model_3d=file)[0]
    made = views(loaded)
    assert (made.pictures - views(splat).pictures).abs().max() < 0.01
    wanted = views(changed(loaded, sh=-loaded.sh)).pictures
    painted = bake(made.views, loaded, wanted)
    again = run_node("File3DToSplat", model_3d=run_node("SplatToFile3D", splat=painted, format="ply")[0])[0]
    torch.testing.assert_close(again.sh, painted.sh)
    torch.testing.assert_close(again.positions, splat.positions)
    shown, solid = views(again).pictures, made.mask > 0.9
    assert db(shown[solid], wanted[solid]) > 30


def test_it_runs_under_inference_mode(views, bake):
    """As the host runs nodes: what it hands on are inference tensors."""
    with torch.inference_mode():
        splat = ball(100)
        made = views(splat)
        assert bake(made.views, splat, made.pictures).sh.isfinite().all()
