"""View Sampler: views of any canvas, denoised into one."""

import gc
import importlib.util
import math
from pathlib import Path

import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from faulty import Fault, faulty

from bench.campaign.control import alive

PAIR = ("identity", "rotate 180")
FIVE = ("view_noise", "synctweedies", "multidiffusion", "canonical_noise", "canonical_clean")
OTHERS = ("dpmpp_2m", "heun", "euler_ancestral")
SPACES = ("latents", "pictures")


def close(got: torch.Tensor, wanted: torch.Tensor, part: float = 1e-5) -> bool:
    """Whether two agree to a part of the largest value."""
    return bool((got - wanted).abs().max() <= part * wanted.abs().max())


def own(conditioning: list, *views: int) -> list:
    """CONDITIONING of these views only, as View Prompts marks it."""
    return [[tensor, {**options, "syncdiffusion_views": views}] for tensor, options in conditioning]


class TestOneView:
    """Of the whole picture: then it is the stock sampler."""

    @pytest.mark.parametrize("kind", ["eps", "v", "flow"])
    @pytest.mark.parametrize("sampler", ["euler", "ddim"])
    def test_by_the_loop_of_the_paper(self, models, small, pictures, view_sampler, ksampler, kind, sampler):
        given = {"sampler_name": sampler, "steps": 4}
        wanted = ksampler(models[kind], latent_image=small.empty_latent(64, 64), **given)
        assert close(view_sampler(models[kind], pictures("identity"), **given)[0], wanted, 2e-5)  # but for rounding

    @pytest.mark.parametrize("sampler", [*OTHERS, "uni_pc", "lcm", "dpm_fast", "euler_cfg_pp", "res_multistep_cfg_pp"])
    def test_by_another_sampler(self, models, small, pictures, view_sampler, ksampler, sampler):
        given = {"sampler_name": sampler, "steps": 4}
        wanted = ksampler(models["eps"], latent_image=small.empty_latent(64, 64), **given)
        assert torch.equal(view_sampler(models["eps"], pictures("identity"), **given)[0], wanted)

    def test_from_a_picture(self, models, small, pictures, view_sampler, ksampler):
        latent = {"samples": torch.randn(1, 4, 8, 8, generator=torch.manual_seed(4))}
        wanted = ksampler(models["eps"], latent_image=latent, steps=4, denoise=0.5)
        for way in FIVE:
            got = view_sampler(
                models["eps"], pictures("identity"), latent_image=latent, denoise=0.5, synchronisation=way
            )
            assert close(got[0], wanted, 1e-4), way

    @pytest.mark.parametrize("kind", ["eps", "flow"])
    @pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m", "euler_cfg_pp"])
    def test_behind_a_mask(self, models, pictures, view_sampler, ksampler, kind, sampler):
        latent = {"samples": torch.randn(1, 4, 8, 8, generator=torch.manual_seed(4))}
        latent["noise_mask"] = torch.rand(1, 64, 64, generator=torch.manual_seed(5)).round()
        given = {"latent_image": latent, "sampler_name": sampler, "steps": 4, "denoise": 0.8}
        wanted = ksampler(models[kind], **given)
        assert close(view_sampler(models[kind], pictures("identity"), **given)[0], wanted, 2e-5)


class TestStrategies:
    """What they say of each other, and whom they refuse."""

    @pytest.mark.parametrize("maps", [PAIR, ("identity", "negate", "flip left-right")])
    def test_all_five_agree_where_cells_only_move(self, models, pictures, view_sampler, maps):
        made = [view_sampler(models["eps"], pictures(*maps), synchronisation=way) for way in FIVE]
        for samples, image, _ in made[1:]:
            assert close(samples, made[0][0], 1e-4)
            assert close(image, made[0][1], 1e-4)

    @pytest.mark.parametrize("way", [way for way in FIVE if way != "synctweedies"])
    def test_others_need_latents(self, models, vae, pictures, view_sampler, way):
        with pytest.raises(ValueError, match=f"synchronisation: '{way}' keeps or averages noisy latents"):
            view_sampler(models["eps"], pictures(*PAIR, space="pictures"), vae=vae, synchronisation=way)

    @pytest.mark.parametrize("way", [way for way in FIVE if way != "synctweedies"])
    def test_others_need_euler(self, models, pictures, view_sampler, pack, way):
        words = f"synchronisation: '{way}' is defined for euler and ddim only; choose one of them, or 'synctweedies'"
        with pytest.raises(ValueError, match=words):
            view_sampler(models["eps"], pictures(*PAIR), synchronisation=way, sampler_name="dpmpp_2m")
        told = pack["SyncDiffusionViewSampler"].validate_inputs(sampler_name="heun", synchronisation=way)
        assert words in told


class TestBothRoutes:
    """View Sampler, and Synchronise Views under the host's samplers from the same noise."""

    @pytest.mark.parametrize("space", SPACES)
    @pytest.mark.parametrize("kind", ["eps", "flow"])
    @pytest.mark.parametrize("sampler", ["euler", *OTHERS, "euler_cfg_pp"])
    def test_they_are_the_same(
        self, models, vae, pictures, view_sampler, noise_of_views, from_noise, run_node, space, kind, sampler
    ):
        model, spec = models[kind], pictures("identity", "rotate 90", space=space)
        got, _, _ = view_sampler(model, spec, vae=vae, sampler_name=sampler)
        patched = run_node("SyncDiffusionSynchroniseViews", model=model, views=spec, vae=vae)[0]
        wanted = from_noise(patched, noise_of_views(model, spec), sampler_name=sampler)
        assert close(got, wanted, 1e-5)

    @pytest.mark.parametrize("sampler", OTHERS)
    def test_views_are_of_one_canvas_at_the_end(
        self, models, pictures, view_sampler, noise_of_views, from_noise, run_node, core_of, sampler
    ):
        model, spec = models["eps"], pictures("identity", "rotate 90", "negate")
        views = spec.resolve(None, core_of("views.schedule").CellGrid(8)).latent.every
        agreed = core_of("agreement").LATENTS.views
        patched = run_node("SyncDiffusionSynchroniseViews", model=model, views=spec)[0]
        sampled, _, _ = view_sampler(model, spec, sampler_name=sampler)
        for x in (sampled, from_noise(patched, noise_of_views(model, spec), sampler_name=sampler)):
            assert close(agreed(views, x), x, 1e-4)
            assert not close(x[0], x[1], 0.1)


class TestConditioning:
    """Each view by its own conditions, none by another's."""

    def prompts(self, small) -> tuple[list, list]:
        return small.conditioning(1), small.conditioning(5)

    def test_two_prompts_on_one_picture_are_the_mean_of_both(
        self, models, small, pictures, view_sampler, ksampler, run_node
    ):
        first, second = self.prompts(small)
        both = run_node("ConditioningCombine", conditioning_1=first, conditioning_2=second)[0]
        wanted = ksampler(models["eps"], latent_image=small.empty_latent(64, 64), steps=4, positive=both)
        marked = [*own(first, 0), *own(second, 1)]
        got, _, _ = view_sampler(models["eps"], pictures("identity", "identity"), positive=marked)
        assert all(close(view, wanted[0], 1e-4) for view in got)

    @pytest.mark.usefixtures("living_models")
    @pytest.mark.parametrize("kind", ["plain", "light", "vae"])
    @pytest.mark.parametrize("how", ["view sampler", "synchronise views"])
    def test_a_hint_for_each_view(
        self, models, vae, small, pictures, view_sampler, ksampler, run_node, noise_of_views, from_noise, kind, how
    ):
        hints, net = torch.rand(2, 64, 64, 3, generator=torch.manual_seed(1)), small.control_net(kind)

        def controlled(hint: torch.Tensor) -> dict[str, list]:
            roles = {"positive": small.conditioning(1), "negative": small.conditioning(2)}
            outs = run_node("ControlNetApplyAdvanced", **roles, control_net=net, image=hint, vae=vae)
            return dict(zip(roles, outs, strict=True))

        single = [controlled(hint[None]) for hint in hints]
        both = {
            role: run_node("ConditioningCombine", conditioning_1=single[0][role], conditioning_2=single[1][role])[0]
            for role in single[0]
        }
        wanted = ksampler(models["eps"], latent_image=small.empty_latent(64, 64), steps=4, **both)
        spec = pictures("identity", "identity")
        if how == "view sampler":
            got, _, _ = view_sampler(models["eps"], spec, **controlled(hints))
        else:
            patched = run_node("SyncDiffusionSynchroniseViews", model=models["eps"], views=spec)[0]
            got = from_noise(patched, noise_of_views(models["eps"], spec), **controlled(hints))
        assert all(close(view, wanted[0], 1e-4) for view in got)
        alone = ksampler(models["eps"], latent_image=small.empty_latent(64, 64), steps=4, **single[0])
        assert not close(alone, wanted, 1e-3)

    def test_a_mask_for_each_view(self, models, small, pictures, view_sampler, ksampler, run_node):
        """Two masks on a second prompt: as if each view had that prompt under its own mask."""
        first, second = self.prompts(small)
        masks = (torch.rand(2, 64, 64, generator=torch.manual_seed(2)) > 0.5).float()

        def masked(mask: torch.Tensor) -> list:
            given = {"conditioning": second, "mask": mask, "strength": 1.0, "set_cond_area": "default"}
            return run_node("ConditioningSetMask", **given)[0]

        batch = [*first, *masked(masks)]
        apart = [*first, *own(masked(masks[:1]), 0), *own(masked(masks[1:]), 1)]
        spec = pictures(*PAIR)
        got = view_sampler(models["eps"], spec, positive=batch)[0]
        assert close(got, view_sampler(models["eps"], spec, positive=apart)[0], 1e-5)
        one = view_sampler(models["eps"], spec, positive=[*first, *masked(masks[:1])])[0]
        assert not close(got, one, 1e-3)

    def test_an_area_is_in_a_views_own_cells(self, models, small, pictures, view_sampler, run_node):
        first, second = self.prompts(small)
        box = {"width": 32, "height": 64, "x": 0, "y": 0, "strength": 1.0}
        area = run_node("ConditioningSetArea", conditioning=second, **box)[0]
        mask = torch.zeros(1, 64, 64)
        mask[..., :32] = 1
        spec = pictures(*PAIR)
        got = view_sampler(models["eps"], spec, positive=[*first, *area])[0]
        assert got.isfinite().all()
        assert not close(got, view_sampler(models["eps"], spec, positive=first)[0], 1e-3)


class TestBatches:
    """Neither other pictures nor the size of a model call change a picture."""

    @pytest.mark.parametrize("space", SPACES)
    def test_each_picture_is_its_own_run(self, models, vae, small, pictures, view_sampler, monkeypatch, space):
        noise = torch.randn(2, 4, 8, 8, generator=torch.manual_seed(7))
        spec, hints = pictures(*PAIR, space=space), small.conditioning(1)

        def made(part: torch.Tensor) -> tuple:
            monkeypatch.setattr(comfy.sample, "prepare_noise", lambda latent, seed, *_: part.to(latent))
            return view_sampler(models["eps"], spec, vae=vae, positive=hints, batch_size=len(part))

        both, images, _ = made(noise)
        assert both.shape[0] == 4
        for k in range(2):
            samples, image, _ = made(noise[k : k + 1])
            assert close(both[k::2], samples, 1e-4)
            assert close(images[k : k + 1], image, 1e-4)

    @pytest.mark.parametrize("space", SPACES)
    @pytest.mark.parametrize("sampler", ["euler", "heun"])
    def test_views_in_a_call_do_not_matter(self, models, vae, pictures, view_sampler, space, sampler):
        spec = pictures("identity", "rotate 90", "flip upside down", space=space)
        given = {"vae": vae, "sampler_name": sampler}
        wanted = view_sampler(models["eps"], spec, views_per_batch=3, **given)[0]
        for count in (1, 2):
            assert close(view_sampler(models["eps"], spec, views_per_batch=count, **given)[0], wanted, 1e-5)


class TestMemory:
    """Of a device that has too little, and of the process afterwards."""

    @pytest.mark.parametrize("sampler", ["euler", "heun"])
    def test_batches_of_the_model_are_halved(self, models, pictures, view_sampler, sampler):
        model, rows, spec = models["eps"].clone(), [], pictures(*PAIR)

        def apply(executor, x, *args, **kwargs):
            rows.append(len(x))
            if len(x) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return executor(x, *args, **kwargs)

        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", apply)
        got = view_sampler(model, spec, sampler_name=sampler)[0]
        assert rows[:2] == [4, 2]
        assert max(rows[1:]) == 2
        assert close(got, view_sampler(models["eps"], spec, sampler_name=sampler)[0], 1e-5)

    @pytest.mark.parametrize("route", ["view sampler", "synchronise views"])
    @pytest.mark.parametrize("part", ["decoder", "encoder"])
    def test_batches_of_the_codec_are_halved(
        self, models, vae, pictures, view_sampler, noise_of_views, from_noise, run_node, part, route
    ):
        spec, network = pictures(*PAIR, space="pictures"), getattr(vae.first_stage_model, part)
        sizes = []

        def too_much(_, given):
            sizes.append(len(given[0]))
            if len(given[0]) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        def run() -> torch.Tensor:
            if route == "view sampler":
                return view_sampler(models["eps"], spec, vae=vae)[0]
            patched = run_node("SyncDiffusionSynchroniseViews", model=models["eps"], views=spec, vae=vae)[0]
            return from_noise(patched, noise_of_views(models["eps"], spec))

        wanted = run()
        hook = network.register_forward_pre_hook(too_much)
        try:
            got = run()
        finally:
            hook.remove()
        assert sizes.count(2) == 1
        assert close(got, wanted, 1e-5)

    @pytest.mark.parametrize("network", ["model", "decoder", "encoder"])
    def test_an_interrupt_leaves_nothing(self, models, vae, pictures, view_sampler, network):
        module = {"model": models["eps"].model.diffusion_model}.get(network) or getattr(vae.first_stage_model, network)
        spec = pictures(*PAIR, space="pictures")
        wanted = view_sampler(models["eps"], spec, vae=vae)[0]
        gc.collect()
        before = alive()
        with faulty(Fault(2, stop=True), module), pytest.raises(comfy.model_management.InterruptProcessingException):
            view_sampler(models["eps"], spec, vae=vae)
        assert torch.equal(view_sampler(models["eps"], spec, vae=vae)[0], wanted)
        count, size = alive()
        assert count <= before[0] + 2
        assert size <= before[1] + 2**15

    @pytest.mark.parametrize("sampler", ["euler", "heun"])
    def test_a_run_lets_go_of_the_model_at_once(self, models, vae, pictures, view_sampler, sampler):
        model, spec = models["eps"].clone(), pictures(*PAIR, space="pictures")
        gc.collect()
        gc.disable()
        try:
            view_sampler(model, spec, vae=vae, sampler_name=sampler)
            loaded = [entry.model for entry in comfy.model_management.current_loaded_models]
        finally:
            gc.enable()
        assert any(entry is model for entry in loaded)

    def test_what_it_is_given_stays(self, models, vae, pictures, view_sampler, ksampler, small):
        model, options = models["eps"], repr(models["eps"].model_options)
        before = ksampler(model, steps=2)
        latent = {"samples": torch.randn(2, 4, 8, 8, generator=torch.manual_seed(4))}
        kept = latent["samples"].clone()
        for way in FIVE:
            view_sampler(model, pictures(*PAIR), vae=vae, latent_image=latent, denoise=0.5, synchronisation=way)
        assert torch.equal(latent["samples"], kept)
        assert repr(model.model_options) == options
        assert torch.equal(ksampler(model, steps=2), before)


class TestCanvas:
    """The picture that it gives beside the views."""

    def test_it_is_the_views_own_picture(self, models, vae, pictures, view_sampler, run_node):
        samples, image, trace = view_sampler(models["eps"], pictures(*PAIR), vae=vae)
        decoded = run_node("VAEDecode", samples={"samples": samples[:1]}, vae=vae)[0]
        assert tuple(image.shape) == (1, 64, 64, 3)
        assert (image - decoded).abs().max() < 1e-5
        assert trace == ""

    def test_it_is_what_the_agreement_made(self, models, vae, pictures, view_sampler, core_of, monkeypatch):
        """In pictures: the mean of what the model said at the last step, decoded, not of what was encoded again."""
        made, kind = [], core_of("agreement").PictureAgreement
        result = kind.result
        monkeypatch.setattr(kind, "result", lambda *given: made.append(result(*given)) or made[-1])
        _, image, _ = view_sampler(models["eps"], pictures("identity", "rotate 90", space="pictures"), vae=vae)
        (canvas,) = made
        assert tuple(canvas.shape) == (1, 3, 64, 64)
        assert torch.equal(image, ((canvas + 1) / 2).movedim(1, -1).clamp(0, 1))

    def test_without_a_vae_it_is_black(self, models, pictures, view_sampler):
        _, image, _ = view_sampler(models["eps"], pictures(*PAIR))
        assert not image.any()

    def test_planes_are_shown_as_their_mean(self, models, vae, pictures, view_sampler):
        for space in SPACES:
            samples, image, _ = view_sampler(models["eps"], pictures(*PAIR, planes=3, space=space), vae=vae)
            assert tuple(image.shape) == (1, 64, 64, 3)
            assert samples.isfinite().all()
            assert image.std() > 0

    def test_mixed_cells(self, models, vae, pictures, view_sampler):
        for space in SPACES:
            samples, image, _ = view_sampler(models["eps"], pictures("identity", "inner circle", space=space), vae=vae)
            assert samples.isfinite().all()
            assert image.std() > 0


class TestRefusals:
    """Each in a sentence that says what to do."""

    def refused(self, view_sampler, words: str, *args: object, **inputs: object) -> None:
        with pytest.raises(ValueError, match=words):
            view_sampler(*args, **inputs)

    def test_guidance_on_an_ambiguous_image(self, models, pictures, view_sampler, guidance):
        words = "guidance: it draws views towards one picture, and those of an ambiguous image are meant to differ"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), guidance=guidance())
        view_sampler(models["eps"], pictures(*PAIR), guidance=guidance(weight=0.0), steps=1)

    def test_a_view_without_a_prompt(self, models, pictures, view_sampler, small):
        words = "positive: view 2 has no prompt; give View Prompts a line for each of the 2 views"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), positive=own(small.conditioning(1), 0))
        words = "negative: view 1 has no prompt"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), negative=own(small.conditioning(1), 1))

    def test_a_prompt_of_no_view(self, models, pictures, view_sampler, small):
        marked = [*small.conditioning(1), *own(small.conditioning(5), 2)]
        words = "positive: a prompt of View Prompts belongs to none of the 2 views"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), positive=marked)

    @pytest.mark.parametrize(("count", "side"), [(3, 8), (2, 16)])
    def test_other_latents(self, models, pictures, view_sampler, count, side):
        latent = {"samples": torch.randn(count, 4, side, side)}
        words = f"latent_image: {count} latents of {side} x {side} cells for 2 views of 8 x 8; give one for each view"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), latent_image=latent)

    def test_latents_of_another_model(self, models, pictures, view_sampler):
        latent = {"samples": torch.randn(2, 16, 8, 8)}
        words = "latent_image: it has 16 channels and the model's latents have 4"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), latent_image=latent)

    @pytest.mark.parametrize("way", [way for way in FIVE if way != "synctweedies"])
    def test_a_noise_mask_for_other_strategies(self, models, pictures, view_sampler, way):
        latent = {"samples": torch.randn(2, 4, 8, 8), "noise_mask": torch.ones(1, 64, 64)}
        words = f"latent_image: it has a noise mask, and '{way}' averages what it keeps with the rest"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), latent_image=latent, synchronisation=way)

    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            (torch.ones(3, 64, 64), "latent_image: its noise mask is a batch of 3 for 2 latents; give one mask"),
            (torch.full((1, 64, 64), math.nan), "latent_image: its noise mask: it holds NaN"),
            (torch.ones(64), "latent_image: its noise mask should be"),
        ],
    )
    def test_other_noise_masks(self, models, pictures, view_sampler, mask, words):
        latent = {"samples": torch.randn(2, 4, 8, 8), "noise_mask": mask}
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), latent_image=latent)

    def test_windows(self, models, windows, view_sampler):
        words = "views: windows have no canvas of their own; connect them to SyncDiffusion Panorama Sampler"
        self.refused(view_sampler, words, models["eps"], windows(64, 32))

    def test_pictures_without_a_vae(self, models, pictures, view_sampler):
        words = "vae: nothing is connected"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR, space="pictures"))
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), agree_in="pictures")

    @pytest.mark.parametrize("other", ["SyncDiffusionSynchroniseViews", "SyncDiffusionApplyWindows"])
    def test_a_model_that_has_views_already(self, models, pictures, windows, view_sampler, run_node, other):
        spec = pictures(*PAIR)
        given = {"views": spec} if "Views" in other else {"windows": windows(64, 32)}
        patched = run_node(other, model=models["eps"], **given)[0]
        words = "model: Apply Windows or Synchronise Views is on it, and View Sampler has views of its own"
        self.refused(view_sampler, words, patched, spec)

    def test_merged_attention(self, models, pictures, view_sampler, run_node):
        merged = run_node("SyncDiffusionMergeAttention", model=models["eps"], end_percent=1.0)[0]
        words = "model: Merge Window Attention merges the windows of a panorama"
        self.refused(view_sampler, words, merged, pictures(*PAIR))

    def test_a_batch_of_masks_of_another_count(self, models, small, pictures, view_sampler, run_node):
        given = {"mask": torch.rand(3, 64, 64), "strength": 1.0, "set_cond_area": "default"}
        masked = run_node("ConditioningSetMask", conditioning=small.conditioning(5), **given)[0]
        words = "conditioning: a mask is a batch of 3 for 2 views; give one for all, or one for each view"
        prompts = [*small.conditioning(1), *masked]
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), positive=prompts)

    def test_sizes_and_choices(self, models, pictures, view_sampler):
        words = "width must be a multiple of 8 px for this model, got 60; use 56 or 64"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR, size=(64, 60)))
        self.refused(view_sampler, "agree_in: it must be one of", models["eps"], pictures(*PAIR), agree_in="colours")
        words = "denoise: it must be between 0.01 and 1"
        self.refused(view_sampler, words, models["eps"], pictures(*PAIR), denoise=0.0)


class Cube:
    """The ViewSpec of a cube map, as a pack would state one: not distinct, its canvas no picture."""

    view_px, distinct, by_views = (64, 64), False, False

    def __init__(self, core_of, space: str) -> None:
        self._core_of, self.space = core_of, core_of("views.schedule").Space(space)

    def shown(self, canvas: torch.Tensor) -> torch.Tensor:
        """Faces side by side."""
        return torch.cat(list(canvas.unbind(-3)), dim=-1)

    def resolve(self, canvas: object, grid: object) -> object:
        """Five views in a ring that overlap by a third."""
        schedule = self._core_of("views.schedule")
        still = [schedule.Still(self._views(64 // cell)) for cell in (grid.cell_px, 1)]
        return schedule.Resolved(*still)

    def _views(self, size: int) -> object:
        path = Path(__file__).parents[1] / "core" / "canvases" / "cube.py"
        loader = importlib.util.spec_from_file_location("cube", path)
        module = importlib.util.module_from_spec(loader)
        loader.loader.exec_module(module)
        module.IndexedViews = self._core_of("views.tables").IndexedViews
        cameras = [(turn * math.tau / 5, 0.0) for turn in range(5)]
        return module.cube_views(size, size, cameras, math.radians(100))


class TestGuided:
    """Views of one scene on a canvas that is no picture."""

    @pytest.mark.parametrize("gradient", ["through the model", "forward only", "image prior (Wiener)"])
    @pytest.mark.parametrize("anchor", ["centre window", "neighbouring windows", "mean of all windows"])
    def test_a_cube_map(self, models, vae, core_of, view_sampler, guidance, gradient, anchor):
        spec = Cube(core_of, "latents")
        guide = guidance(weight=2000.0, end_percent=1.0, gradient=gradient, anchor=anchor)
        plain, _, nothing = view_sampler(models["eps"], spec, vae=vae, steps=3)
        moved, image, trace = view_sampler(models["eps"], spec, vae=vae, steps=3, guidance=guide)
        assert nothing == ""
        assert len(trace.splitlines()) == 3
        assert moved.isfinite().all()
        assert not close(moved, plain, 1e-3)
        assert tuple(image.shape) == (1, 64, 6 * 64, 3)
        assert image.isfinite().all()

    @pytest.mark.parametrize("inputs", [{"sampler_name": "dpmpp_2m"}, {"sampler_name": "heun"}, {"batch_size": 2}])
    @pytest.mark.parametrize("space", SPACES)
    def test_other_settings(self, models, vae, core_of, view_sampler, guidance, space, inputs):
        guide = guidance(weight=2000.0, end_percent=1.0)
        plain, _, _ = view_sampler(models["eps"], Cube(core_of, space), vae=vae, steps=3, **inputs)
        given = {"guidance": guide, "steps": 3, **inputs}
        moved, image, trace = view_sampler(models["eps"], Cube(core_of, space), vae=vae, **given)
        assert len(trace.splitlines()) == 3
        assert moved.isfinite().all()
        assert not close(moved, plain, 1e-3)
        assert len(image) == inputs.get("batch_size", 1)

    @pytest.mark.parametrize("way", FIVE)
    def test_every_strategy(self, models, vae, core_of, view_sampler, guidance, way):
        guide = guidance(weight=2000.0, end_percent=1.0)
        moved, _, trace = view_sampler(
            models["eps"], Cube(core_of, "latents"), vae=vae, steps=2, guidance=guide, synchronisation=way
        )
        assert moved.isfinite().all()
        assert len(trace.splitlines()) == 2

    def test_the_demo_model(self, core_of, view_sampler, run_node, perceptual):
        model, clip, vae = run_node("SyncDiffusionLoadDemoModel")[:3]
        words = {"positive": "mountains, dusk", "negative": ""}
        roles = {role: run_node("CLIPTextEncode", clip=clip, text=text)[0] for role, text in words.items()}
        guide = run_node("SyncDiffusionGuidance", vae=vae, perceptual_model=perceptual, weight=500.0, end_percent=1.0)
        given = {"vae": vae, "guidance": guide[0], "steps": 4, "scheduler": "ddim_uniform", **roles}
        samples, image, trace = view_sampler(model, Cube(core_of, "latents"), **given)
        assert samples.isfinite().all()
        assert len(trace.splitlines()) == 4
        assert image.std() > 0.02

    def test_a_mask_needs_a_picture(self, models, vae, core_of, view_sampler, guidance):
        guide = guidance(weight=2000.0, end_percent=1.0, mask=torch.ones(1, 64, 64))
        with pytest.raises(ValueError, match="guidance: its mask is a picture, and the canvas of these views is none"):
            view_sampler(models["eps"], Cube(core_of, "latents"), vae=vae, guidance=guide)

    def test_a_sampler_that_loses_moves(self, models, core_of, view_sampler, guidance):
        with pytest.raises(ValueError, match="sampler: uni_pc does not carry a move of its state on"):
            view_sampler(models["eps"], Cube(core_of, "latents"), guidance=guidance(), sampler_name="uni_pc")


ENCODED = ("SDXL", "Qwen-Image", "Wan", "Chroma Radiance")


@pytest.mark.parametrize(
    ("name", "space"),
    [("SD3", "latents"), ("Flux", "latents"), *((name, space) for name in ENCODED for space in SPACES)],
)
def test_other_families(of, vae, pictures, view_sampler, name, space):
    bench = of(name)
    roles = {"positive": bench.family.conditioning(1), "negative": bench.family.conditioning(2)}
    own = vae if name == "SDXL" else bench.vae  # the families' small VAEs of that kind have no encoder
    given = {"steps": 2, "scheduler": "simple", "cfg": 2.0, "vae": own, **roles}
    samples, image, _ = view_sampler(bench.model, pictures(*PAIR, size=(64, 96), space=space), **given)
    assert samples.shape[0] == 2
    assert samples.ndim == bench.family.dims
    assert samples.isfinite().all()
    assert tuple(image.shape) == (1, 64, 96, 3)
    assert image.std() > 0


@pytest.mark.parametrize("name", ["SDXL", "Wan"])
def test_pictures_are_encoded_as_the_host_encodes_them(of, vae, module_of, name):
    bench = of(name)
    own, inner = vae if name == "SDXL" else bench.vae, bench.model.model
    picture = torch.rand(1, 64, 96, 3, generator=torch.manual_seed(1))
    with torch.inference_mode():
        wanted = inner.process_latent_in(own.encode(picture))
        got = module_of("host.gradient.codec").HostEncoder(own, inner)(picture.movedim(-1, 1))
    assert close(got, wanted, 1e-5)
