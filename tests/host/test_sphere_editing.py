"""A 360 degree picture as the start of a run over its views, whole and behind a mask."""

import pytest
import torch

SAMPLERS = ("ddim", "dpmpp_2m", "euler_ancestral", "euler_cfg_pp")


def psnr(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(-10 * torch.log10((got - wanted).square().mean()))


@pytest.fixture
def demo(run_node) -> tuple:
    """(model, clip, vae) of the demo model."""
    return run_node("SyncDiffusionLoadDemoModel")[:3]


@pytest.fixture
def rig(run_node):
    return run_node("SyncDiffusionCameraRig", rig="ring and poles", count=6, fov=90.0)[0]


@pytest.fixture
def start(run_node, rig, demo, core_of):
    """start(mask) -> (IMAGE of the sphere, LATENT of its views, the mask that it was given in these)."""
    rays = core_of("canvases.sphere").directions_of((256, 512)).float()
    waves = torch.tensor([[2.0, -1.0, 1.0], [1.0, 3.0, -2.0], [-1.0, 1.0, 3.0]])
    image = 0.5 + 0.4 * (rays @ waves.T).sin()[None]

    def make(mask: torch.Tensor | None = None, n: int = 1) -> tuple:
        given = {"image": image.expand(n, -1, -1, -1), "rig": rig, "view_size": 128, "mask": mask}
        views, masks = run_node("SyncDiffusionEquirectToViews", **given)
        latent = run_node("VAEEncode", pixels=views, vae=demo[2])[0]
        if mask is not None:
            latent = run_node("SetLatentNoiseMask", samples=latent, mask=masks)[0]
        return image, latent

    return make


@pytest.fixture
def edit(run_node, rig, demo, start):
    """edit(latent, **inputs) -> (latents of the views, IMAGE of the sphere) of View Sampler."""
    model, clip, vae = demo
    texts = {"positive": "desert at night", "negative": ""}
    prompts = {role: run_node("CLIPTextEncode", clip=clip, text=text)[0] for role, text in texts.items()}

    def make(latent: dict, space: str = "latents", **inputs: object) -> tuple:
        views = run_node("SyncDiffusionSphereViews", rig=rig, width=512, view_size=128, agree_in=space)[0]
        given = {"seed": 1, "steps": 3, "cfg": 1.0, "sampler_name": "ddim", "scheduler": "normal", **prompts, **inputs}
        made = run_node("SyncDiffusionViewSampler", model=model, views=views, vae=vae, latent_image=latent, **given)
        return made[0]["samples"], made[1]

    return make


@pytest.fixture
def mask() -> torch.Tensor:
    """MASK [1, 256, 512]: the left half of the front may change, over the sides and down to the nadir."""
    half = torch.zeros(1, 256, 512)
    half[:, 64:, :200] = 1
    return half


class TestFromAPicture:
    """With denoise below 1."""

    @pytest.mark.parametrize("space", ["latents", "pictures"])
    def test_hardly_any_noise_gives_it_back(self, start, edit, space):
        image, latent = start()
        near = edit(latent, space, denoise=0.02, steps=1)[1]
        assert psnr(near, image) > 28  # the model's own word at that level; its VAE alone has 41

    def test_more_noise_leaves_less_of_it(self, start, edit):
        image, latent = start()
        left = [psnr(edit(latent, denoise=share)[1], image) for share in (0.1, 0.4, 0.7)]
        assert left[0] > left[1] + 1 > left[2] + 2


class TestMask:
    """Behind one, which goes through the maps of its picture."""

    def test_views_of_a_mask(self, run_node, rig, mask):
        given = {"image": torch.rand(2, 256, 512, 3), "rig": rig, "view_size": 64}
        masks = run_node("SyncDiffusionEquirectToViews", **given, mask=mask)[1]
        assert tuple(masks.shape) == (16, 64, 64)
        wanted = run_node("SyncDiffusionEquirectToViews", **{**given, "image": mask[..., None].expand(-1, -1, -1, 3)})
        assert torch.equal(masks[::2], masks[1::2])
        torch.testing.assert_close(masks[::2], wanted[0][..., 0])
        plain = run_node("SyncDiffusionEquirectToViews", **given)[1]
        torch.testing.assert_close(plain, torch.ones_like(plain))

    @pytest.mark.parametrize(("sampler", "space"), [*((each, "latents") for each in SAMPLERS), ("ddim", "pictures")])
    def test_what_it_keeps_stays(self, start, edit, run_node, mask, space, sampler):
        image, latent = start(mask)
        views, canvas = edit(latent, space, denoise=1.0, sampler_name=sampler)
        cells = torch.nn.functional.interpolate(latent["noise_mask"], size=views.shape[-2:], mode="bilinear")
        kept = (cells == 0).expand_as(views)
        assert kept.any()
        torch.testing.assert_close(views[kept], latent["samples"][kept], atol=1e-4, rtol=0)
        free = (cells == 1).expand_as(views)
        assert (views - latent["samples"])[free].abs().mean() > 0.3
        inside = torch.zeros_like(mask)
        inside[:, :, 240:480] = 1  # beside the mask's borders
        assert psnr(canvas[inside == 1], image[inside == 1]) > 35
        assert psnr(canvas[mask == 1], image[mask == 1]) < 15
        both = {"destination": image, "source": canvas, "x": 0, "y": 0, "resize_source": False, "mask": mask}
        whole = run_node("ImageCompositeMasked", **both)[0]
        assert torch.equal(whole[mask == 0], image[mask == 0])

    def test_each_picture_has_its_own(self, start, edit, mask):
        """Two pictures at once, one mask: as each alone, of its own noise."""
        image, latent = start(mask, n=2)
        assert len(latent["samples"]) == len(latent["noise_mask"]) == 16
        views, _ = edit(latent, steps=2)
        cells = torch.nn.functional.interpolate(latent["noise_mask"], size=views.shape[-2:], mode="bilinear")
        kept = (cells == 0).expand_as(views)
        torch.testing.assert_close(views[kept], latent["samples"][kept], atol=1e-4, rtol=0)
        assert not torch.equal(views[::2], views[1::2])

    def test_under_a_stock_sampler(self, start, rig, demo, run_node, mask):
        _, latent = start(mask)
        model, clip, _ = demo
        views = run_node("SyncDiffusionSphereViews", rig=rig, width=512, view_size=128, agree_in="latents")[0]
        patched = run_node("SyncDiffusionSynchroniseViews", model=model, views=views)[0]
        prompt = run_node("CLIPTextEncode", clip=clip, text="desert at night")[0]
        given = {"seed": 1, "steps": 3, "cfg": 1.0, "sampler_name": "dpmpp_2m", "scheduler": "normal", "denoise": 0.8}
        roles = {"positive": prompt, "negative": prompt}
        made = run_node("KSampler", model=patched, latent_image=latent, **roles, **given)[0]["samples"]
        cells = torch.nn.functional.interpolate(latent["noise_mask"], size=made.shape[-2:], mode="bilinear")
        kept, free = ((cells == edge).expand_as(made) for edge in (0, 1))
        torch.testing.assert_close(made[kept], latent["samples"][kept], atol=1e-4, rtol=0)
        assert (made - latent["samples"])[free].abs().mean() > 0.3

    def test_guidance_moves_nothing_that_is_kept(self, models, run_node, rig, view_sampler, guidance, vae, mask):
        """What it draws views towards is the kept picture, too."""
        views = run_node("SyncDiffusionSphereViews", rig=rig, width=512, view_size=64, agree_in="latents")[0]
        given = {"image": torch.rand(1, 256, 512, 3), "rig": rig, "view_size": 64, "mask": mask}
        masks = run_node("SyncDiffusionEquirectToViews", **given)[1]
        samples = torch.randn(8, 4, 8, 8, generator=torch.manual_seed(2))
        made = {}
        for name, each in {"free": torch.ones_like(masks), "behind": masks}.items():
            latent = {"samples": samples, "noise_mask": each[:, None]}
            made[name] = view_sampler(models["eps"], views, vae=vae, latent_image=latent, guidance=guidance())
        cells = torch.nn.functional.interpolate(masks[:, None], size=(8, 8), mode="bilinear")
        kept = (cells == 0).expand_as(samples)
        torch.testing.assert_close(made["behind"][0][kept], samples[kept], atol=1e-4, rtol=0)
        assert made["behind"][2] != made["free"][2]

    @pytest.mark.parametrize("size", [(3, 256, 512), (1, 128, 256), (1, 256, 500)])
    def test_another_mask_is_refused(self, run_node, rig, size):
        with pytest.raises(ValueError, match="mask: .* for 2 pictures of 512 x 256; give one of their size"):
            run_node(
                "SyncDiffusionEquirectToViews",
                image=torch.rand(2, 256, 512, 3),
                rig=rig,
                view_size=64,
                mask=torch.ones(size),
            )

    def test_an_equirect_is_no_batch_of_views(self, run_node, demo, edit):
        latent = run_node("VAEEncode", pixels=torch.rand(1, 256, 512, 3), vae=demo[2])[0]
        with pytest.raises(ValueError, match="latent_image: 1 latents of 64 x 32 cells for 8 views of 16 x 16"):
            edit(latent)
