"""Textures of meshes through nodes: against the host's own renderer, what is given, and a run from end to end."""

import math

import pytest
import torch
from heard import said

NODE = "SyncDiffusionMeshViews"
BAKE = "SyncDiffusionBakeViewsToTexture"
SIDE = 128


@pytest.fixture
def rig(run_node):
    """rig(**widgets) -> RIG; a ring of six and the poles of 50 degrees unless told otherwise."""
    return lambda **widgets: run_node(
        "SyncDiffusionCameraRig", **{"rig": "ring and poles", "count": 6, "fov": 50.0, **widgets}
    )[0]


@pytest.fixture
def look(run_node, rig, mesh):
    """look(mesh, rig, **widgets) -> (VIEWS, count, depth, normals, mask, unseen); a torus, 64 px, in latents."""

    def make(given: object = None, cameras: object = None, **widgets: object) -> tuple:
        sizes = {"atlas_size": 128, "view_size": 64, "agree_in": "latents", **widgets}
        return run_node(NODE, mesh=given or mesh("torus", 48, 24), rig=cameras or rig(), **sizes)

    return make


@pytest.fixture
def camera(host):
    """camera(yaw, pitch) -> LOAD3D_CAMERA of Create Camera Info, 3.2 from the origin, 50 degrees."""
    splats = pytest.importorskip("comfy_extras.nodes_gaussian_splat", reason="this ComfyUI has no camera node")

    def make(yaw: float, pitch: float) -> dict:
        mode = {"mode": "orbit", "yaw": yaw, "pitch": pitch, "distance": 3.2}
        return splats.CreateCameraInfo.execute(mode, 0.0, 0.0, 0.0, 0.0, 50.0).args[0]

    return make


def psnr(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(-10 * torch.log10((got - wanted).square().mean()))


class TestAgainstTheHost:
    """The same camera through RenderMesh, which casts rays."""

    @pytest.fixture
    def both(self, look, run_node, mesh, camera):
        """both(mode, mesh, yaw, pitch) -> (ours, the host's picture [h, w, 3], its mask [h, w])."""

        def make(mode: str, given: object, yaw: float, pitch: float) -> tuple:
            info = camera(yaw, pitch)
            cameras = run_node("SyncDiffusionCameraRig", camera_1=info)[0]
            ours = look(given, cameras, view_size=SIDE)
            theirs = {"width": SIDE, "height": SIDE, "background": "#000000", "camera_info": info}
            image, mask = run_node("RenderMesh", mesh=given, mode=mode, **theirs)
            return ours, image[0], mask[0]

        return make

    @pytest.mark.parametrize("turn", [(0, 0), (35, 20), (-120, -60), (200, 75)])
    @pytest.mark.parametrize("name", ["torus", "cube"])
    def test_outlines_and_depth(self, both, mesh, core_of, name, turn):
        ours, image, mask = both("depth", mesh(name), *turn)
        outline = ours[4][0] > 0
        assert int((outline != (mask > 0)).sum()) <= 2, "of the silhouette, whose pixels rays may miss"
        spec = ours[0]
        ((_, hits),) = core_of("canvases.mesh_views").drawn(spec.mesh, spec.cameras, (SIDE, SIDE))
        rays = spec.cameras.rig.rays((SIDE, SIDE))[0]
        along = -(rays @ spec.cameras.rig.rotations[0][:, 2])
        distance = 1 / (hits.inverse_depth.double() * along)
        inside = outline & (mask > 0)
        near, far = distance[inside].aminmax()
        off = ((far - distance) / (far - near) - image[..., 0])[inside].abs()
        assert off.median() < 1e-5
        assert int((off > 1e-4).sum()) <= 2

    @pytest.mark.parametrize("smooth", [False, True])
    def test_normals(self, both, mesh, smooth):
        given = mesh("torus", 48, 24)
        if smooth:
            ring = given.vertices * torch.tensor([1.0, 0, 1.0])
            across = given.vertices - ring / ring.norm(dim=-1, keepdim=True)
            given.normals = across / across.norm(dim=-1, keepdim=True)
        ours, image, mask = both("normal", given, 35, 20)
        inside = (ours[4][0] > 0) & (mask > 0)
        off = (ours[3][0] - image)[inside].abs().amax(dim=-1)
        assert off.median() < 1e-4
        assert (off > 1e-3).float().mean() < 0.01  # of outlines inside the ring, where a face is half seen

    def test_a_baked_texture_is_what_its_views_were(self, look, run_node, mesh, camera, core_of):
        """Painted by us, baked, put on the mesh and rendered by the host: UVs and halves of texels are its own."""
        given, infos = mesh("torus", 48, 24), [camera(60.0 * k, pitch) for k, pitch in enumerate([20, -20] * 3)]
        cameras = run_node("SyncDiffusionCameraRig", **{f"camera_{k + 1}": info for k, info in enumerate(infos)})[0]
        spec = look(given, cameras, atlas_size=256, view_size=SIDE)[0]
        u, v = torch.meshgrid((torch.arange(256) + 0.5) / 256, (torch.arange(256) + 0.5) / 256, indexing="xy")
        painted = torch.stack([(math.tau * (a * u + b * v)).sin() for a, b in ((2, 1), (-3, 2), (5, 0))]) / 2 + 0.5
        pictures = spec.tables((256, 256), (SIDE, SIDE)).views.project(painted[None]).movedim(1, -1)
        texture, unseen = run_node(BAKE, views=spec, images=pictures)
        assert tuple(texture.shape) == (1, 256, 256, 3)
        assert psnr(texture[unseen == 0], painted.movedim(0, -1)[None][unseen == 0]) > 40
        textured = run_node("ApplyTextureToMesh", mesh=given, base_color=texture)[0]
        theirs = {"mode": "texture", "width": SIDE, "height": SIDE, "background": "#000000"}
        for number in (0, 3):
            image, mask = run_node("RenderMesh", mesh=textured, camera_info=infos[number], **theirs)
            shown = (mask[0] > 0) & (pictures[number].sum(dim=-1) > 0)
            assert shown.sum() > 1000
            assert psnr(image[0][shown], pictures[number][shown]) > 35

    def test_uvs_are_fitted_as_the_host_does(self, core_of, host):
        from comfy_extras.nodes_mesh_postprocess import _normalize_uvs_to_unit

        for low, high in ((0.0, 1.0), (-0.5, 0.7), (0.2, 3.0)):
            uvs = low + (high - low) * torch.rand(50, 2, generator=torch.manual_seed(3))
            theirs = torch.from_numpy(_normalize_uvs_to_unit(uvs.numpy())).double()
            torch.testing.assert_close(core_of("canvases.mesh").fitted(uvs), theirs)


class TestMeshViews:
    """What comes out, and what may go in."""

    def test_outputs(self, look, host):
        views, count, depth, normals, mask, unseen = look()
        assert count == len(views.cameras) == 8
        assert tuple(depth.shape) == tuple(normals.shape) == (8, 64, 64, 3)
        assert tuple(mask.shape) == (8, 64, 64)
        assert tuple(unseen.shape) == (1, 128, 128)
        assert not depth[mask == 0].any()
        assert depth.max() == 1
        assert 0 < mask.mean() < 1
        assert unseen.mean() < 0.1
        assert "8 views: " in said(host)

    def test_two_hundred_thousand_faces(self, look, mesh):
        views, *_, mask, _ = look(mesh("torus", 500, 200))
        assert len(views.mesh.faces) == 200_000
        assert mask.any()

    def test_a_batch_is_its_first_mesh(self, look, mesh, host):
        """Padded to the larger one's size, and said."""
        small, large = mesh("cube"), mesh("torus", 12, 8)
        wanted = look(small)
        host.server.events.clear()
        padded = {}
        for part in ("vertices", "faces", "uvs"):
            one, other = getattr(small, part)[0], getattr(large, part)[0]
            rows = max(len(one), len(other))
            fit = [torch.nn.functional.pad(each, (0, 0, 0, rows - len(each))) for each in (one, other)]
            padded[part] = torch.stack(fit)
        counts = {
            f"{name}_counts": torch.tensor([len(getattr(each, part)[0]) for each in (small, large)])
            for name, part in (("vertex", "vertices"), ("face", "faces"))
        }
        made = look(mesh("cube", **padded, **counts))
        assert "only the first is used" in said(host)
        for one, other in zip(wanted[2:], made[2:], strict=True):
            assert torch.equal(one, other)

    def test_numbers_of_faces_may_be_short(self, look, mesh):
        wide = mesh("cube")
        short = mesh("cube", faces=wide.faces.int())
        assert torch.equal(look(wide)[2], look(short)[2])

    def test_tensors_of_the_hosts_runs(self, look, mesh):
        with torch.inference_mode():
            given = mesh("cube")
            frozen = mesh("cube", **{part: getattr(given, part).clone() for part in ("vertices", "faces", "uvs")})
        assert frozen.vertices.is_inference()
        assert torch.equal(look(frozen)[2], look(mesh("cube"))[2])

    def test_uvs_that_lie_on_each_other_are_told(self, look, mesh, host):
        given = mesh("cube")
        look(mesh("cube", uvs=given.uvs % 0.34))
        assert "lies on other parts of it in the texture" in said(host)
        host.server.events.clear()
        look(given)
        assert "lies on" not in said(host)
        look(mesh("cube", uvs=given.uvs * 3))
        assert "tiles beyond the texture" in said(host)

    def test_outside_only(self, look, mesh, rig):
        """A square from behind."""
        behind = rig(rig="ring", count=2)
        masks = [look(mesh("quad"), behind, faces=faces)[4] for faces in ("both sides", "outside only")]
        assert masks[0][1].any()
        assert not masks[1][1].any()
        assert torch.equal(masks[0][0], masks[1][0])

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"uvs": None}, "mesh: it has no UVs.*UnwrapMesh"),
            ({"uvs": torch.zeros(1, 24, 2)}, "mesh: its UVs cover no texel"),
            ({"uvs": torch.zeros(1, 3, 2)}, "mesh: it has 3 uvs for 24 vertices"),
            ({"vertices": torch.full((1, 24, 3), math.nan)}, "mesh: its vertices hold NaN"),
            ({"vertices": torch.zeros(1, 24, 3)}, "mesh: all of its faces are without an area"),
            ({"vertices": "none"}, "mesh: its vertices are no tensor"),
            ({"vertices": None}, "mesh: it holds no vertices and faces"),
            ({"vertices": torch.zeros(0, 24, 3)}, "mesh: its vertices are no tensor"),
            ({"faces": torch.tensor([[[0, 1, 99]]])}, "mesh: its faces name vertices 0 … 99, and there are 24"),
            ({"faces": torch.zeros(1, 0, 3, dtype=torch.long)}, "mesh: its faces must be whole numbers"),
            ({"vertex_counts": torch.tensor([0]), "face_counts": torch.tensor([1])}, "mesh: its vertex_counts are no"),
        ],
    )
    def test_refused(self, look, mesh, change, words):
        with pytest.raises(ValueError, match=words):
            look(mesh("cube", **change))

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"mesh": None}, "mesh: nothing is connected"),
            ({"mesh": "mesh"}, "mesh: it holds no vertices"),
            ({"rig": "ring"}, "rig: these are no cameras"),
            ({"distance": -1.0}, "distance: it must be between 0"),
            ({"distance": math.nan}, "distance: it must be between 0"),
            ({"atlas_size": 8}, "atlas_size: it must be between 64"),
            ({"faces": "inside"}, "faces: it must be one of"),
            ({"distance": 9999.0}, "rig: none of its cameras sees the mesh"),
        ],
    )
    def test_refused_widgets(self, run_node, rig, mesh, given, words):
        with pytest.raises(ValueError, match=words):
            run_node(NODE, **{"mesh": mesh("cube"), "rig": rig(), "atlas_size": 64, "view_size": 64, **given})


class TestBake:
    """Pictures put together."""

    def test_holes_are_filled_and_told(self, look, run_node, mesh, rig):
        views, *_, unseen = look(mesh("cube"), rig(rig="ring", count=4))
        grey = torch.full((4, 96, 96, 3), 0.4)
        texture, holes = run_node(BAKE, views=views, images=grey)
        torch.testing.assert_close(texture, torch.full_like(texture, 0.4), atol=1e-5, rtol=0)
        assert holes.mean() == pytest.approx(float(unseen.mean()), abs=0.03)

    def test_a_batch_has_all_first_views_first(self, look, run_node):
        views = look()[0]
        images = torch.rand(16, 64, 64, 3, generator=torch.manual_seed(4))
        both, _ = run_node(BAKE, views=views, images=images)
        alone, _ = run_node(BAKE, views=views, images=images[1::2])
        torch.testing.assert_close(both[1:], alone)

    @pytest.mark.parametrize(
        ("images", "words"),
        [
            (torch.rand(3, 64, 64, 3), "images: a batch of 3 pictures for 8 views"),
            (torch.rand(8, 64, 48, 3), "images: views of a mesh are square, got 48 x 64"),
            (torch.full((8, 8, 8, 3), math.nan), "images: it holds NaN"),
        ],
    )
    def test_refused(self, look, run_node, images, words):
        with pytest.raises(ValueError, match=words):
            run_node(BAKE, views=look()[0], images=images)

    def test_other_views_are_refused(self, run_node, rig):
        sphere = run_node("SyncDiffusionSphereViews", rig=rig(), width=256, view_size=64)[0]
        for views, words in ((sphere, "these are no views of a mesh"), (None, "nothing is connected")):
            with pytest.raises(ValueError, match=f"views: {words}"):
                run_node(BAKE, views=views, images=torch.rand(8, 64, 64, 3))


class TestRun:
    """The View Sampler and Synchronise Views on a mesh."""

    @pytest.mark.parametrize("space", ["latents", "pictures"])
    def test_views_become_one_texture(self, models, vae, look, view_sampler, run_node, space):
        views = look(agree_in=space)[0]
        samples, image, _ = view_sampler(models["eps"], views, vae=vae, steps=3)
        assert tuple(samples.shape) == (8, 4, 8, 8)
        assert tuple(image.shape) == (1, 128, 128, 3)
        assert samples.isfinite().all()
        assert image.isfinite().all()
        assert image.std() > 0

    def test_the_texture_is_baked_of_decoded_views(self, models, vae, look, view_sampler, run_node):
        """By the weights of the last canvas, which Bake Views to Texture has."""
        views = look()[0]
        samples, image, _ = view_sampler(models["eps"], views, vae=vae, steps=2)
        decoded = run_node("VAEDecode", samples={"samples": samples}, vae=vae)[0]
        wanted, _ = run_node(BAKE, views=views, images=decoded)
        torch.testing.assert_close(image, wanted, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("space", ["latents", "pictures"])
    def test_each_view_is_shown_its_own_hint_or_none(self, models, vae, small, look, view_sampler, run_node, space):
        views, _, depth, *_ = look(agree_in=space)
        roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
        net = small.control_net("plain")
        given = run_node("ControlNetApplyAdvanced", **roles, control_net=net, image=depth)
        steered = dict(zip(roles, given, strict=True))
        plain, _, _ = view_sampler(models["eps"], views, vae=vae, steps=2)
        hinted, _, _ = view_sampler(models["eps"], views, vae=vae, steps=2, **steered)
        assert hinted.isfinite().all()
        assert not torch.equal(plain, hinted)

    @pytest.mark.parametrize("strategy", ["view_noise", "synctweedies"])
    def test_strategies_of_views(self, models, look, view_sampler, strategy):
        samples, _, _ = view_sampler(models["v"], look()[0], synchronisation=strategy, steps=3)
        assert samples.isfinite().all()

    @pytest.mark.parametrize("strategy", ["multidiffusion", "canonical_noise", "canonical_clean"])
    def test_a_canvas_has_no_background(self, models, look, view_sampler, strategy):
        with pytest.raises(ValueError, match=f"synchronisation: '{strategy}' keeps one canvas, and the background"):
            view_sampler(models["v"], look()[0], synchronisation=strategy)

    def test_a_stock_sampler_makes_the_same(self, models, look, view_sampler, run_node, noise_of_views, from_noise):
        views = look()[0]
        wanted, _, _ = view_sampler(models["eps"], views)
        patched = run_node("SyncDiffusionSynchroniseViews", model=models["eps"], views=views)[0]
        got = from_noise(patched, noise_of_views(models["eps"], views))
        assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()

    @pytest.mark.parametrize("space", ["latents", "pictures"])
    @pytest.mark.parametrize("anchor", ["centre window", "mean of all windows", "neighbouring windows"])
    def test_guidance(self, models, vae, look, view_sampler, guidance, anchor, space):
        views = look(agree_in=space)[0]
        plain, _, _ = view_sampler(models["eps"], views, vae=vae)
        moved, _, trace = view_sampler(models["eps"], views, vae=vae, guidance=guidance(anchor=anchor))
        assert moved.isfinite().all()
        assert not torch.equal(plain, moved)
        assert trace

    def test_prompts_by_side(self, small, run_node, rig):
        clip, cameras = small.Clip(), rig(rig="texture", count=8)
        lines = "front: a\nside: b\nback: c"
        made = run_node("SyncDiffusionViewPrompts", clip=clip, prompts=lines, rig=cameras)[0]
        assert [options["syncdiffusion_views"] for _, options in made] == [(0, 7, 8), (1, 2, 5, 6), (3, 4, 9)]
        for side, words in (("top", "shows the top"), ("bottom", "shows the bottom"), ("up", "looks up")):
            with pytest.raises(ValueError, match=f"prompts: no view of this rig {words}"):
                run_node("SyncDiffusionViewPrompts", clip=clip, prompts=f"{side}: d", rig=cameras)
        around = rig(rig="ring and poles", count=4)
        made = run_node("SyncDiffusionViewPrompts", clip=clip, prompts="top: a\nbottom: b", rig=around)[0]
        assert [options["syncdiffusion_views"] for _, options in made] == [(5,), (4,)]

    def test_sizes_that_the_model_cannot_have(self, models, look, view_sampler):
        with pytest.raises(ValueError, match="atlas_size must be a multiple of 8 px for this model, got 132"):
            view_sampler(models["eps"], look(atlas_size=132)[0])
