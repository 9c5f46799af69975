"""Hints for the views of a sphere: of depth, and of a skyline that is drawn all around."""

import math

import pytest
import torch

from demo.skyline import detect, load_detector

NODE = "SyncDiffusionPanoramaDepthHints"
HEIGHT, WIDTH = 64, 128
FOLLOWED_PX = 4.0
"""How far from the drawing the skylines of views may be, by a detector with an error of its own; it was 1.9."""


@pytest.fixture
def rig(run_node):
    """rig(kind, count, fov) -> RIG."""

    def make(kind: str = "cube", count: int = 6, fov: float = 90.0) -> object:
        return run_node("SyncDiffusionCameraRig", rig=kind, count=count, fov=fov)[0]

    return make


@pytest.fixture
def hints(run_node, rig):
    """hints(**inputs) -> IMAGE of a cube's six views, 64 px."""

    def make(**inputs: object) -> torch.Tensor:
        return run_node(NODE, **{"rig": rig(), "view_size": 64, **inputs})[0]

    return make


def host_rays() -> torch.Tensor:
    """Where the host's panorama functions say that each pixel looks: [H, W, 3], Z up."""
    from comfy.ldm.moge import panorama

    return torch.from_numpy(panorama.spherical_uv_to_directions(panorama._uv_grid(HEIGHT, WIDTH))).double()


def geometry(distance: torch.Tensor, **more: object) -> dict:
    """MOGE_GEOMETRY as the host's panorama node makes it, of distances [H, W]."""
    distance = distance.float()[None]
    points = host_rays().float() * distance[..., None]
    return {"points": points, "depth": distance, "mask": torch.ones_like(distance, dtype=torch.bool), **more}


def room(*walls: float) -> torch.Tensor:
    """Distances [H, W] in a box whose sides in front, to the right, back, left, up and down are so far away."""
    x, y, z = host_rays().unbind(-1)  # the front is the host's -x, see test_sphere; its y is to the right
    sides = torch.stack([-x, y, x, -y, z, -z])
    return (torch.tensor(walls).double()[:, None, None] / sides.clamp(min=1e-9)).amin(dim=0)


class TestDepth:
    """Of the host's geometry and of pictures."""

    def test_walls_are_where_the_host_has_them(self, hints):
        walls = [2.0, 1.5, 3.0, 4.0, 1.2, 1.0]
        made = hints(moge_geometry=geometry(room(*walls)))
        assert tuple(made.shape) == (6, 64, 64, 3)
        middles, wanted = made[:, 32, 32, 0], 1 / torch.tensor(walls)
        torch.testing.assert_close(middles, (wanted - wanted.min()) / (1 - wanted.min()), atol=0.03, rtol=0)

    def test_without_a_distance_it_is_the_sky(self, hints):
        distance = room(2.0, 1.5, 3.0, 4.0, 1.2, 1.0)
        upper = torch.arange(HEIGHT)[:, None].expand(HEIGHT, WIDTH) < HEIGHT // 2
        masked = geometry(distance, mask=~upper[None])
        for given in (masked, geometry(torch.where(upper, torch.inf, distance))):
            made = hints(moge_geometry=given)
            assert not made[4].any()
            assert not made[:4, :31].any()
            assert made[5].min() > 0.3

    def test_a_picture_says_the_same(self, hints):
        distance = room(2.0, 1.5, 3.0, 4.0, 1.2, 1.0)
        wanted = hints(moge_geometry=geometry(distance))
        for shows, picture in (("disparity", 1 / distance), ("distance", distance)):
            grey = (picture / picture.max()).float()[None, ..., None].expand(-1, -1, -1, 3)
            torch.testing.assert_close(hints(depth=grey, depth_shows=shows), wanted, atol=0.02, rtol=0)

    def test_the_hosts_own_render_does(self, hints, run_node):
        given = geometry(room(2.0, 1.5, 3.0, 4.0, 1.2, 1.0))
        rendered = run_node("MoGeRender", moge_geometry=given, output="depth")[0]
        for measure in ("planar", "radial"):
            made = hints(depth=rendered, measure=measure)
            order = hints(moge_geometry=given, measure=measure)[:, 32, 32, 0].argsort()
            assert torch.equal(made[:, 32, 32, 0].argsort(), order)

    def test_planar_flattens_a_wall_and_radial_rounds_it(self, hints):
        cube = geometry(room(*[2.0] * 5, 1.0))
        planar, radial = (hints(moge_geometry=cube, measure=each)[0, 4:40, 4:-4, 0] for each in ("planar", "radial"))
        assert planar.std() < 0.01
        assert radial.std() > 0.05

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({}, "depth: one of moge_geometry and depth has to be connected, got neither"),
            ({"depth": torch.rand(1, 8, 16, 3), "moge_geometry": {}}, "depth: one of .* got both"),
            ({"depth": torch.rand(1, 8, 12, 3)}, "depth: .* twice as wide as high, got 12 x 8"),
            ({"depth": torch.full((1, 8, 16, 3), 0.5)}, "depth: it is the same everywhere"),
            ({"depth": torch.full((1, 8, 16, 3), math.nan)}, "depth: it holds NaN"),
            ({"moge_geometry": torch.rand(1, 8, 16)}, "moge_geometry: it holds no depth"),
            ({"moge_geometry": {"depth": None}}, "moge_geometry: it holds no depth"),
            ({"moge_geometry": {"depth": torch.rand(1, 8, 12)}}, "moge_geometry: .* twice as wide as high"),
            (
                {"moge_geometry": {"depth": torch.rand(1, 8, 16) - 0.5}},
                "its depth holds NaN or negative",
            ),
            ({"moge_geometry": {"depth": torch.full((1, 8, 16), math.nan)}}, "moge_geometry: its depth holds NaN"),
            ({"moge_geometry": {"depth": torch.ones(1, 8, 16)}}, "depth: it is the same everywhere"),
            ({"moge_geometry": {"depth": torch.rand(1, 8, 16), "mask": torch.ones(1, 8, 8)}}, "its mask is not of"),
            ({"moge_geometry": {"depth": torch.rand(1, 8, 16), "intrinsics": torch.eye(3)}}, "of an ordinary picture"),
            ({"depth": torch.rand(1, 8, 16, 3), "measure": "metric"}, "measure: it must be one of planar, radial"),
        ],
    )
    def test_refused(self, hints, given, words):
        with pytest.raises(ValueError, match=words):
            hints(**given)


@pytest.mark.parametrize("space", ["latents", "pictures"])
@pytest.mark.parametrize("per_batch", [0, 1, 3, 8])
def test_each_view_is_shown_its_own_hint(
    models, vae, small, rig, run_node, view_sampler, noise_of_views, space, per_batch
):
    """Told by the noise beside it, which the run shares out before the first step."""
    cameras, net = rig("ring and poles", 6, 100.0), small.control_net("plain")
    views = run_node("SyncDiffusionSphereViews", rig=cameras, width=256, view_size=64, agree_in=space)[0]
    noise = noise_of_views(models["eps"], views)
    greys = torch.linspace(0, 1, len(noise))
    roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
    image = greys.view(-1, 1, 1, 1).expand(-1, 64, 64, 3)
    given = dict(zip(roles, run_node("ControlNetApplyAdvanced", **roles, control_net=net, image=image), strict=True))
    seen = []

    def note(module, args, kwargs):
        x, hint = kwargs["x"], kwargs["hint"]
        seen.extend(zip(x, hint.expand(len(x), -1, -1, -1), strict=True))

    hook = net.control_model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        view_sampler(models["eps"], views, vae=vae, views_per_batch=per_batch, steps=1, **given)
    finally:
        hook.remove()
    shown = [int((noise - x).flatten(1).norm(dim=1).argmin()) for x, _ in seen]
    assert set(shown) == set(range(len(noise)))
    for view, (_, hint) in zip(shown, seen, strict=True):
        assert hint.unique().tolist() == pytest.approx([float(greys[view])])


def test_a_drawn_horizon_goes_all_around(run_node, rig):
    """The demo world's ControlNet: land below the line in every view that it crosses, none in the sky."""
    model, clip, vae, net = run_node("SyncDiffusionLoadDemoModel")
    cameras = rig("ring and poles", 6, 90.0)
    longitude = (torch.arange(512) + 0.5) / 512 * math.tau
    skyline = 128 - 10 * (2 * longitude).sin() - 4 * (5 * longitude).cos()
    land = (torch.arange(256)[:, None] + 1 - skyline).clamp(0, 1)
    drawn = land[None, ..., None].expand(-1, -1, -1, 3)
    hints = run_node("SyncDiffusionEquirectToViews", image=drawn, rig=cameras, view_size=128)[0]
    up, down = hints[6:]
    assert not up.any()
    assert down.min() > 0.99
    views = run_node("SyncDiffusionSphereViews", rig=cameras, width=512, view_size=128, agree_in="latents")[0]
    texts = {"positive": "mountains at noon", "negative": ""}
    plain = {role: run_node("CLIPTextEncode", clip=clip, text=text)[0] for role, text in texts.items()}
    steered, _ = run_node("ControlNetApplyAdvanced", **plain, control_net=net, image=hints)
    settings = {"seed": 1, "steps": 12, "cfg": 4.0, "sampler_name": "ddim", "scheduler": "ddim_uniform"}
    wanted = (1 - hints[:6, ..., 0]).sum(dim=1)

    def error(positive: list) -> float:
        given = {**plain, "positive": positive, **settings}
        latent, image, _ = run_node("SyncDiffusionViewSampler", model=model, views=views, vae=vae, **given)
        assert tuple(image.shape) == (1, 256, 512, 3)
        pictures = run_node("VAEDecode", samples={"samples": latent["samples"][:6]}, vae=vae)[0].movedim(-1, 1)
        return float((detect(load_detector(), pictures) - wanted).abs().mean())

    followed, free = error(steered), error(plain["positive"])
    assert followed < FOLLOWED_PX
    assert free > 2 * followed
