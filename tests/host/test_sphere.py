"""360 degree pictures through nodes: rigs, pictures taken apart and put together, views denoised into one sphere."""

import gc
import math

import comfy.model_management
import pytest
import torch
from faulty import Fault, faulty
from heard import said

from bench.campaign.control import alive

RIG = {"rig": "ring and poles", "count": 6, "fov": 100.0}
NODE = "SyncDiffusionPreviewPanorama"
STRATEGIES = ("view_noise", "synctweedies", "multidiffusion", "canonical_noise", "canonical_clean")


@pytest.fixture
def rig(run_node):
    """rig(**widgets) -> (RIG, picture, count); six views around and the poles unless told otherwise."""
    return lambda **widgets: run_node("SyncDiffusionCameraRig", **{**RIG, **widgets})


@pytest.fixture
def sphere(run_node, rig):
    """sphere(**widgets) -> VIEWS of 64 px, of a picture of 256 x 128 px, that agree in latents."""

    def make(cameras: object = None, **widgets: object) -> object:
        given = {"width": 256, "view_size": 64, "agree_in": "latents", **widgets}
        return run_node("SyncDiffusionSphereViews", rig=cameras or rig()[0], **given)[0]

    return make


def smooth(module, height: int, n: int = 1) -> torch.Tensor:
    """IMAGE [n, H, 2H, 3] of what has no edges on the sphere, the poles and sides included."""
    rays = module.directions_of((height, 2 * height)).float()
    waves = torch.tensor([[2.0, -1.0, 1.0], [1.0, 3.0, -2.0], [-1.0, 1.0, 3.0]])
    return torch.stack([0.5 + 0.5 * (rays @ waves.T + 0.7 * k).sin() for k in range(n)])


class TestCameraRig:
    """Cameras, a picture of what they see, and what is said of it."""

    def test_it_says_what_is_seen_before_anything_runs(self, rig, host):
        made, picture, count = rig(rig="three rings and poles", count=8, fov=80.0)
        assert count == len(made) == 18
        assert tuple(picture.shape) == (1, 512, 1024, 3)
        assert "18 views, at every step: 100% of the sphere is seen, 89% by two or more" in said(host)

    def test_views_that_only_touch_are_warned_of(self, rig, host):
        rig(rig="cube", fov=90.0)
        assert "hardly overlap" in said(host)

    def test_what_no_view_sees_is_dark(self, rig):
        _, picture, _ = rig(rig="ring", fov=60.0)
        assert picture[0, :60].max() < 0.2
        assert picture[0, 256].max() > 0.5

    def test_tilt_lifts_the_front(self, rig):
        azimuth, elevation = rig(rig="ring", tilt=30.0)[0].directions[0].tolist()
        assert (azimuth, elevation) == pytest.approx((0, math.radians(30)), abs=1e-9)


class TestPictures:
    """Equirect to Views, Views to Equirect."""

    def test_there_and_back(self, rig, run_node, core_of):
        image, cameras = smooth(core_of("canvases.sphere"), 128), rig()[0]
        views = run_node("SyncDiffusionEquirectToViews", image=image, rig=cameras, view_size=128)[0]
        assert tuple(views.shape) == (8, 128, 128, 3)
        again, unseen = run_node("SyncDiffusionViewsToEquirect", views=views, rig=cameras, width=256)
        assert tuple(again.shape) == (1, 128, 256, 3)
        assert tuple(unseen.shape) == (1, 128, 256)
        assert not unseen.any()
        assert -10 * torch.log10((again - image).square().mean()) > 45

    def test_a_batch_has_all_first_views_first(self, rig, run_node, core_of):
        images, cameras = smooth(core_of("canvases.sphere"), 64, 2), rig()[0]
        both = run_node("SyncDiffusionEquirectToViews", image=images, rig=cameras, view_size=64)[0]
        alone = run_node("SyncDiffusionEquirectToViews", image=images[1:], rig=cameras, view_size=64)[0]
        assert torch.equal(both[1::2], alone)
        again = run_node("SyncDiffusionViewsToEquirect", views=both, rig=cameras, width=128)[0]
        assert (again - images).abs().mean() < 0.01

    def test_what_no_view_sees_is_masked_and_filled(self, rig, run_node):
        cameras = rig(rig="ring", count=8, fov=72.0)[0]
        grey = torch.full((8, 64, 64, 3), 0.4)
        image, unseen = run_node("SyncDiffusionViewsToEquirect", views=grey, rig=cameras, width=256)
        torch.testing.assert_close(image, torch.full_like(image, 0.4), atol=1e-5, rtol=0)
        assert unseen[0, 0].all()
        assert not unseen[0, 64].any()

    def test_the_front_is_the_hosts(self, core_of):
        """Where MoGe's panoramas look, once turned to glTF's axes."""
        from comfy.ldm.moge import panorama

        height, width = 32, 64
        v, u = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
        host = panorama.spherical_uv_to_directions(torch.stack([u, v], dim=-1).double().numpy())
        ours = core_of("canvases.sphere").directions_of((height, width))
        torch.testing.assert_close(torch.as_tensor(host).double()[..., [1, 2, 0]], ours, atol=1e-6, rtol=0)

    @pytest.mark.parametrize(
        ("node", "given", "words"),
        [
            ("EquirectToViews", {"image": torch.rand(1, 64, 100, 3)}, "image: .* twice as wide as high, got 100 x 64"),
            ("EquirectToViews", {"image": torch.full((1, 64, 128, 3), float("nan"))}, "image: .*NaN"),
            ("ViewsToEquirect", {"views": torch.rand(3, 8, 8, 3)}, "views: a batch of 3 pictures for 8 cameras"),
            ("ViewsToEquirect", {"views": torch.rand(8, 8, 8, 3), "width": 8}, "width: it must be"),
        ],
    )
    def test_refused(self, rig, run_node, node, given, words):
        with pytest.raises(ValueError, match=words):
            run_node(f"SyncDiffusion{node}", rig=rig()[0], **given)

    def test_no_rig_is_refused(self, run_node):
        with pytest.raises(ValueError, match="rig: .*Camera Rig"):
            run_node("SyncDiffusionEquirectToViews", image=torch.rand(1, 8, 16, 3), rig=None)
        with pytest.raises(ValueError, match="rig: these are no cameras; connect a Camera Rig"):
            run_node("SyncDiffusionSphereViews", rig="ring")


class TestSphereViews:
    """The View Sampler and Synchronise Views on them."""

    @pytest.mark.parametrize("space", ["latents", "pictures"])
    def test_views_become_one_sphere(self, models, vae, sphere, view_sampler, space):
        samples, image, _ = view_sampler(models["eps"], sphere(agree_in=space), vae=vae, steps=3)
        assert tuple(samples.shape) == (8, 4, 8, 8)
        assert tuple(image.shape) == (1, 128, 256, 3)
        assert image.isfinite().all()
        assert image.std() > 0

    @pytest.mark.parametrize("space", ["latents", "pictures"])
    def test_the_picture_is_what_its_views_are_of(self, models, vae, rig, sphere, view_sampler, run_node, space):
        """Decoded view by view in both spaces: a VAE knows nothing of an equirectangular latent and its poles."""
        samples, image, _ = view_sampler(models["eps"], sphere(agree_in=space), vae=vae, steps=2)
        decoded = run_node("VAEDecode", samples={"samples": samples}, vae=vae)[0]
        wanted = run_node("SyncDiffusionViewsToEquirect", views=decoded, rig=rig()[0], width=256)[0]
        within = 1e-4 if space == "latents" else 0.2  # in pictures the canvas is of what the model said, see Agreement
        assert (image - wanted).abs().mean() < within

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_every_strategy(self, models, sphere, view_sampler, strategy):
        samples, _, _ = view_sampler(models["v"], sphere(), synchronisation=strategy, steps=3)
        assert samples.isfinite().all()

    def test_a_stock_sampler_makes_the_same_of_them(
        self, models, sphere, view_sampler, run_node, noise_of_views, from_noise
    ):
        views = sphere()
        wanted, _, _ = view_sampler(models["eps"], views)
        patched = run_node("SyncDiffusionSynchroniseViews", model=models["eps"], views=views)[0]
        got = from_noise(patched, noise_of_views(models["eps"], views))
        assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()

    @pytest.mark.parametrize("anchor", ["centre window", "mean of all windows", "neighbouring windows"])
    def test_guidance(self, models, vae, sphere, view_sampler, guidance, anchor):
        views = sphere()
        plain, _, _ = view_sampler(models["eps"], views, vae=vae)
        moved, _, trace = view_sampler(models["eps"], views, vae=vae, guidance=guidance(anchor=anchor))
        assert moved.isfinite().all()
        assert not torch.equal(plain, moved)
        assert trace

    def test_a_coarse_picture_is_told(self, sphere, host):
        sphere(width=112)
        assert "a width of 169 is theirs" in said(host)

    def test_sizes_that_the_model_cannot_have(self, models, sphere, view_sampler):
        with pytest.raises(ValueError, match="height must be a multiple of 8 px for this model, got 132"):
            view_sampler(models["eps"], sphere(width=264))


class TestTurning:
    """A cube that stands elsewhere at every step."""

    @pytest.fixture
    def cube(self, rig, sphere):
        """VIEWS of a cube that turns; cube(**widgets) of Sphere Views."""
        return lambda **widgets: sphere(rig(rig="cube", fov=95.0)[0], **{"moves": "turning", **widgets})

    @pytest.mark.parametrize("kind", ["eps", "flow"])
    @pytest.mark.parametrize("space", ["latents", "pictures"])
    def test_views_become_one_sphere(self, models, vae, cube, view_sampler, kind, space):
        views = cube(agree_in=space)
        samples, image, _ = view_sampler(models[kind], views, vae=vae, steps=4)
        assert tuple(samples.shape) == (6, 4, 8, 8)
        assert tuple(image.shape) == (1, 128, 256, 3)
        assert image.isfinite().all()
        assert torch.equal(view_sampler(models[kind], views, vae=vae, steps=4)[1], image)
        still, _, _ = view_sampler(models[kind], cube(agree_in=space, moves="still"), vae=vae, steps=4)
        assert not torch.equal(still, samples)

    def test_one_step_is_the_still_rig(self, models, cube, view_sampler):
        one, _, _ = view_sampler(models["eps"], cube(), steps=1)
        still, _, _ = view_sampler(models["eps"], cube(moves="still"), steps=1)
        assert (one - still).abs().max() <= 1e-4 * still.abs().max()

    def test_a_step_shows_the_model_six_views(self, models, cube, view_sampler):
        from comfy.patcher_extension import WrappersMP

        model, rows = models["eps"].clone(), []

        def apply(executor, x, *args, **kwargs):
            rows.append(len(x))
            return executor(x, *args, **kwargs)

        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", apply)
        view_sampler(model, cube(), steps=3)
        assert sum(rows) == 3 * 6 * 2, "of each prompt"

    def test_prompts_stay_with_directions(self, models, small, cube, view_sampler):
        """A line for the poles and one for the horizon, as View Prompts marks them."""

        def own(prompt, *views):
            return [[tensor, {**options, "syncdiffusion_views": views}] for tensor, options in prompt]

        both = [*own(small.conditioning(1), 0, 1, 2, 3), *own(small.conditioning(5), 4, 5)]
        marked, _, _ = view_sampler(models["eps"], cube(), positive=both)
        alike, _, _ = view_sampler(models["eps"], cube(), positive=small.conditioning(1))
        assert marked.isfinite().all()
        assert not torch.equal(marked, alike)

    def test_guidance(self, models, vae, cube, view_sampler, guidance):
        plain, _, _ = view_sampler(models["eps"], cube(), vae=vae)
        moved, _, trace = view_sampler(models["eps"], cube(), vae=vae, guidance=guidance())
        assert moved.isfinite().all()
        assert not torch.equal(plain, moved)
        assert trace

    def test_an_interrupt_leaves_nothing(self, models, vae, cube, view_sampler):
        views, module = cube(agree_in="pictures"), models["eps"].model.diffusion_model
        wanted, _, _ = view_sampler(models["eps"], views, vae=vae, steps=3)
        gc.collect()
        before = alive()
        stopped = comfy.model_management.InterruptProcessingException
        with faulty(Fault(2, stop=True), module), pytest.raises(stopped):
            view_sampler(models["eps"], views, vae=vae, steps=3)
        again, _, _ = view_sampler(models["eps"], views, vae=vae, steps=3)
        assert torch.equal(again, wanted)
        del again
        gc.collect()
        count, size = alive()
        assert count <= before[0] + 2
        assert size <= before[1] + 2**15

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"sampler_name": "dpmpp_2m"}, "sampler_name: views that turn .* choose ddim or euler"),
            ({"synchronisation": "multidiffusion"}, "synchronisation: 'multidiffusion' keeps noise from step to step"),
        ],
    )
    def test_refused(self, models, cube, view_sampler, given, words):
        with pytest.raises(ValueError, match=words):
            view_sampler(models["eps"], cube(), **given)

    def test_a_rig_with_gaps_is_refused(self, rig, sphere):
        with pytest.raises(ValueError, match="moves: a rig that turns has to see the whole sphere"):
            sphere(rig(rig="ring")[0], moves="turning")

    def test_a_mask_for_each_view_is_refused(self, models, small, cube, view_sampler, run_node):
        values = (torch.rand(6, 64, 64, generator=torch.manual_seed(2)) > 0.5).float()
        masks = {"mask": values, "strength": 1.0, "set_cond_area": "default"}
        masked = run_node("ConditioningSetMask", conditioning=small.conditioning(5), **masks)[0]
        with pytest.raises(ValueError, match="a mask is a batch of 6, and views that turn"):
            view_sampler(models["eps"], cube(), positive=[*small.conditioning(1), *masked])
        made = []
        for mask in (values[:1], values[:1].expand(6, -1, -1)):
            one = run_node("ConditioningSetMask", conditioning=small.conditioning(5), **{**masks, "mask": mask})[0]
            made.append(view_sampler(models["eps"], cube(), positive=[*small.conditioning(1), *one])[0])
        assert torch.equal(*made), "one for all, and the same for each"

    def test_a_stock_sampler_is_refused(self, models, cube, run_node):
        with pytest.raises(ValueError, match="views: they turn at every step, .*; use View Sampler"):
            run_node("SyncDiffusionSynchroniseViews", model=models["eps"], views=cube())


class TestPreview:
    """What the viewer is given, and what is said of sides and poles; the browser's tests look through it."""

    @pytest.fixture
    def preview(self, run_graph):
        def show(image, **widgets):
            inputs = {"image": ["image", 0], "shape": "360 x 180 degrees", **widgets}
            run = run_graph({"shown": {"class_type": NODE, "inputs": inputs}}, image=image)
            return run.ui["shown"]["syncdiffusion_panorama"]

        return show

    def test_pictures_are_temporary_and_of_a_shape(self, preview, core_of):
        image = smooth(core_of("canvases.sphere"), 64, 2)
        shown = preview(image)
        assert [each["type"] for each in shown] == ["temp", "temp"]
        assert {each["shape"] for each in shown} == {"sphere"}
        assert preview(image[:, 10:40], shape="loop")[0]["shape"] == "cylinder"

    def test_sides_and_poles_are_told(self, preview, core_of, host):
        image = smooth(core_of("canvases.sphere"), 128)
        preview(image)
        assert "zenith 0.0" in said(host)
        host.server.events.clear()
        preview(torch.rand(1, 64, 128, 3, generator=torch.manual_seed(1)))
        assert "zenith 0.2" in said(host)

    def test_what_is_no_sphere_is_refused(self, run_node):
        with pytest.raises(ValueError, match="image: .* twice as wide as high, got 100 x 64"):
            run_node(NODE, image=torch.rand(1, 64, 100, 3))
