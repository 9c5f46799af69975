"""Synchronise Views: SyncTweedies under any stock sampler; View Sampler's tests compare the two."""

import gc
import weakref

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from faulty import Fault, faulty

from bench.campaign.control import alive

PAIR = ("identity", "rotate 180")
SPACES = ("latents", "pictures")


def close(got: torch.Tensor, wanted: torch.Tensor, part: float = 1e-5) -> bool:
    """Whether two agree to a part of the largest value."""
    return bool((got - wanted).abs().max() <= part * wanted.abs().max())


def own(conditioning: list, *views: int) -> list:
    """CONDITIONING of these views only, as View Prompts marks it."""
    return [[tensor, {**options, "syncdiffusion_views": views}] for tensor, options in conditioning]


@pytest.fixture
def synchronised(run_node):
    """synchronised(model, views, **inputs) -> the MODEL."""

    def make(model: object, views: object, **inputs: object) -> object:
        return run_node("SyncDiffusionSynchroniseViews", model=model, views=views, **inputs)[0]

    return make


@pytest.fixture
def pair(small):
    """An empty latent for each of two views of 64 px."""
    return small.empty_latent(64, 64, batch=2)


@pytest.mark.parametrize("kind", ["eps", "v", "flow"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "uni_pc", "dpmpp_2m_cfg_pp"])
def test_one_view_of_the_whole_is_the_stock_sampler(models, small, pictures, synchronised, ksampler, kind, sampler):
    given = {"latent_image": small.empty_latent(64, 64), "sampler_name": sampler, "steps": 4}
    patched = synchronised(models[kind], pictures("identity"))
    assert torch.equal(ksampler(patched, **given), ksampler(models[kind], **given))


def test_two_prompts_on_one_picture_are_the_mean_of_both(
    models, small, pictures, synchronised, from_noise, ksampler, run_node
):
    first, second = small.conditioning(1), small.conditioning(5)
    both = run_node("ConditioningCombine", conditioning_1=first, conditioning_2=second)[0]
    noise = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(5))
    wanted = from_noise(models["eps"], noise, positive=both)
    patched = synchronised(models["eps"], pictures("identity", "identity"))
    got = from_noise(patched, noise.expand(2, -1, -1, -1), positive=[*own(first, 0), *own(second, 1)])
    assert all(close(view, wanted[0], 1e-4) for view in got)


@pytest.mark.parametrize("space", SPACES)
def test_each_picture_is_its_own_run(models, vae, pictures, synchronised, from_noise, space):
    """Rows are view-major: two first views, then two second ones."""
    noise = torch.randn(4, 4, 8, 8, generator=torch.manual_seed(5))
    patched = synchronised(models["eps"], pictures(*PAIR, space=space), vae=vae)
    both = from_noise(patched, noise)
    for k in range(2):
        assert close(both[k::2], from_noise(patched, noise[k::2]), 1e-4)


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_it_goes_with_guiders_and_patches_of_the_host(models, small, pictures, synchronised, run_node, pair, style):
    """RescaleCFG on the model, a guider of two negatives: the views agree all the same."""
    model = run_node("RescaleCFG", model=models["eps"], multiplier=0.7)[0]
    patched = synchronised(model, pictures(*PAIR))
    roles = {"cond1": small.conditioning(1), "cond2": small.conditioning(5), "negative": small.conditioning(2)}
    settings = {"cfg_conds": 4.0, "cfg_cond2_negative": 3.0, "style": style}
    samples = run_node(
        "SamplerCustomAdvanced",
        noise=run_node("RandomNoise", noise_seed=3)[0],
        guider=run_node("DualCFGGuider", model=patched, **roles, **settings)[0],
        sampler=run_node("KSamplerSelect", sampler_name="dpmpp_2m")[0],
        sigmas=run_node("BasicScheduler", model=patched, scheduler="normal", steps=4, denoise=1.0)[0],
        latent_image=pair,
    )[0]["samples"]
    assert close(samples[1], samples[0].rot90(2, (-2, -1)), 1e-4)


def test_without_cfg(models, pictures, synchronised, ksampler, pair):
    samples = ksampler(synchronised(models["eps"], pictures(*PAIR)), latent_image=pair, cfg=1.0)
    assert close(samples[1], samples[0].rot90(2, (-2, -1)), 1e-4)


class TestRefusals:
    """Each in a sentence that says what to do."""

    @pytest.mark.parametrize(("count", "side"), [(1, 64), (3, 64), (2, 128)])
    def test_other_latents(self, models, small, pictures, synchronised, ksampler, count, side):
        words = (
            f"latent_image: {count} latents of {side // 8} x {side // 8} cells for 2 views of 8 x 8; give an empty "
            "latent of 64 x 64 px with a batch size of 2"
        )
        with pytest.raises(ValueError, match=words):
            ksampler(synchronised(models["eps"], pictures(*PAIR)), latent_image=small.empty_latent(side, side, count))

    def test_a_view_without_a_prompt(self, models, small, pictures, synchronised, ksampler, pair):
        patched = synchronised(models["eps"], pictures(*PAIR))
        with pytest.raises(ValueError, match="positive: view 2 has no prompt"):
            ksampler(patched, latent_image=pair, positive=own(small.conditioning(1), 0))
        marked = [*small.conditioning(1), *own(small.conditioning(5), 4)]
        with pytest.raises(ValueError, match="positive: a prompt of View Prompts belongs to none of the 2 views"):
            ksampler(patched, latent_image=pair, positive=marked)

    def test_windows(self, models, windows, synchronised):
        with pytest.raises(ValueError, match="views: windows have no canvas of their own"):
            synchronised(models["eps"], windows(64, 32))

    def test_pictures_without_a_vae(self, models, pictures, synchronised, ksampler, pair):
        with pytest.raises(ValueError, match="vae: nothing is connected"):
            ksampler(synchronised(models["eps"], pictures(*PAIR, space="pictures")), latent_image=pair)

    @pytest.mark.parametrize("first", ["views", "windows"])
    @pytest.mark.parametrize("then", ["views", "windows"])
    def test_two_on_one_model(self, models, pictures, windows, run_node, first, then):
        nodes = {
            "views": ("SyncDiffusionSynchroniseViews", {"views": pictures(*PAIR)}),
            "windows": ("SyncDiffusionApplyWindows", {"windows": windows(64, 32)}),
        }
        (name, given), (other, others) = nodes[first], nodes[then]
        patched = run_node(name, model=models["eps"], **given)[0]
        with pytest.raises(ValueError, match="model: windows or views are on this model already"):
            run_node(other, model=patched, **others)

    def test_the_panorama_sampler(self, models, small, pictures, windows, synchronised, panorama, pair):
        patched = synchronised(models["eps"], pictures(*PAIR))
        with pytest.raises(ValueError, match="model: Synchronise Views is on it, and the sampler has windows"):
            panorama(patched, windows(64, 32), latent_image=pair)

    def test_merged_attention(self, models, pictures, synchronised, run_node, ksampler, pair):
        merged = run_node("SyncDiffusionMergeAttention", model=models["eps"], end_percent=1.0)[0]
        with pytest.raises(ValueError, match="model: Merge Window Attention merges the windows of a panorama"):
            ksampler(synchronised(merged, pictures(*PAIR)), latent_image=pair)

    def test_a_call_outside_of_a_run(self, models, pictures, synchronised):
        patched, x = synchronised(models["eps"], pictures(*PAIR)), torch.zeros(2, 4, 8, 8)
        (call,) = patched.get_wrappers(WrappersMP.CALC_COND_BATCH, "syncdiffusion")
        with pytest.raises(ValueError, match="model: it is asked for a prediction outside of a sampler's run"):
            call(None, patched.model, [None, None], x, torch.ones(2), patched.model_options)

    @pytest.mark.parametrize("node", ["PanoramaSampler", "ApplyWindows", "Sampler"])
    def test_views_where_windows_belong(self, models, small, pictures, run_node, panorama, node):
        spec, model = pictures(*PAIR), models["eps"]
        run = {
            "PanoramaSampler": lambda: panorama(model, spec),
            "ApplyWindows": lambda: run_node("SyncDiffusionApplyWindows", model=model, windows=spec),
            "Sampler": lambda: run_node("SyncDiffusionSampler", windows=spec),
        }[node]
        words = "windows: these are no windows of a panorama; connect a Window Tiler, or use View Sampler"
        with pytest.raises(ValueError, match=words):
            run()


class TestNothingStays:
    """On the model, in its options, in memory."""

    def test_the_model_is_as_before(self, models, vae, pictures, synchronised, ksampler, pair):
        model, options = models["eps"], repr(models["eps"].model_options)
        before = ksampler(model, steps=2)
        patched = synchronised(model, pictures(*PAIR, space="pictures"), vae=vae)
        kept = repr(patched.model_options)
        ksampler(patched, latent_image=pair, steps=2)
        assert repr(patched.model_options) == kept
        assert repr(model.model_options) == options
        assert torch.equal(ksampler(model, steps=2), before)

    def test_a_clone_dies_with_its_graph(self, models, pictures, synchronised, ksampler, pair):
        patched = synchronised(models["eps"], pictures(*PAIR))
        ksampler(patched, latent_image=pair, steps=1)
        gone = weakref.ref(patched)
        del patched
        gc.collect()
        assert gone() is None

    def test_runs_do_not_grow(self, models, vae, pictures, synchronised, ksampler, pair):
        patched = synchronised(models["eps"], pictures(*PAIR, space="pictures"), vae=vae)
        ksampler(patched, latent_image=pair, steps=1)
        gc.collect()
        before = alive()
        for _ in range(5):
            ksampler(patched, latent_image=pair, steps=1)
        count, size = alive()
        assert count <= before[0] + 2
        assert size <= before[1] + 2**15

    @pytest.mark.parametrize("network", ["model", "decoder", "encoder"])
    def test_an_interrupt_leaves_nothing(self, models, vae, pictures, synchronised, ksampler, pair, network):
        module = {"model": models["eps"].model.diffusion_model}.get(network) or getattr(vae.first_stage_model, network)
        patched = synchronised(models["eps"], pictures(*PAIR, space="pictures"), vae=vae)
        given = {"latent_image": pair, "steps": 3}
        wanted = ksampler(patched, **given)
        gc.collect()
        before = alive()
        with faulty(Fault(2, stop=True), module), pytest.raises(comfy.model_management.InterruptProcessingException):
            ksampler(patched, **given)
        assert torch.equal(ksampler(patched, **given), wanted)
        count, size = alive()
        assert count <= before[0] + 2
        assert size <= before[1] + 2**15


@pytest.mark.parametrize("name", ["SDXL", "Flux", "Qwen-Image"])
def test_other_families(of, pictures, synchronised, name):
    bench = of(name)
    patched = synchronised(bench.model, pictures(*PAIR))
    latent = bench.family.latent(64, 64, batch=2)
    samples = bench.stock(patched, latent_image=latent)
    assert samples.shape == latent["samples"].shape
    assert close(samples[1], samples[0].rot90(2, (-2, -1)), 1e-4)


def test_a_models_own_calls_are_counted_once(models, pictures, synchronised, ksampler, pair):
    """All views of one prompt go through the model together."""
    model, rows = models["eps"].clone(), []

    def apply(executor, x, *args, **kwargs):
        rows.append(len(x))
        return executor(x, *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", apply)
    ksampler(synchronised(model, pictures(*PAIR)), latent_image=pair, steps=2)
    assert rows == [4, 4]
