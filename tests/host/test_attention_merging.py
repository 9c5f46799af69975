"""Merge Window Attention in the real host: what it changes, what it leaves alone, and what it refuses."""

from dataclasses import replace

import comfy.samplers
import pytest
import torch

WAYS = ["sampler", "custom", "apply windows"]


@pytest.fixture
def merging(run_node):
    """merging(model, end_percent) -> the model behind the node."""
    return lambda model, end=1.0: run_node("SyncDiffusionMergeAttention", model=model, end_percent=end)[0]


@pytest.fixture
def close(oracle):
    return oracle.agree


@pytest.fixture
def sample(windowed, small):
    """sample(how, model, **inputs) -> latent through windows that overlap by half."""

    def run(how, model, **inputs):
        roles = {"positive": small.conditioning(1), "negative": small.conditioning(2), **inputs}
        return windowed(how, model, roles.pop("positive"), roles.pop("negative"), **roles)

    return run


@pytest.fixture
def attended(models):
    """attended(model) -> a clone, and the list of tokens that each attention of its calls has looked with."""

    def make(model):
        seen, clone = [], model.clone()

        def look(q, k, v, options):
            assert q.shape == k.shape == v.shape
            seen.append(tuple(q.shape[:2]))
            return q, k, v

        clone.set_model_attn1_patch(look)
        return clone, seen

    return make


def test_one_window_over_the_canvas_is_the_stock_picture(merging, models, panorama, windows, ksampler, run_node):
    model, layout = merging(models["eps"]), windows(192, 192)
    stock = ksampler(models["eps"])
    assert torch.equal(ksampler(model), stock), "without windows nothing changes"
    assert torch.equal(panorama(model, layout)[0]["samples"], stock)
    applied = run_node("SyncDiffusionApplyWindows", model=model, windows=layout)[0]
    assert torch.equal(ksampler(applied), stock)


@pytest.mark.parametrize("how", WAYS)
def test_it_changes_the_picture_alike_in_every_sampler(how, merging, models, sample, close):
    merged = sample(how, merging(models["eps"]))
    assert not torch.allclose(merged, sample(how, models["eps"]))
    close(merged, sample("sampler", merging(models["eps"])))


def test_the_order_of_the_nodes_does_not_matter(merging, models, windows, ksampler, run_node):
    def applied(model):
        return run_node("SyncDiffusionApplyWindows", model=model, windows=windows(64, 32))[0]

    assert torch.equal(ksampler(merging(applied(models["eps"]))), ksampler(applied(merging(models["eps"]))))


@pytest.mark.parametrize("how", WAYS)
def test_attention_runs_over_the_canvas_once_for_each_sample_and_condition(
    how, attended, merging, models, sample, small
):
    """8x24 cells: 192 tokens, then 48 where the network has halved them; two samples, two conditions."""
    model, seen = attended(merging(models["eps"]))
    sample(how, model, latent=small.empty_latent(192, 64, batch=2))
    assert set(seen) == {(4, 192), (4, 48)}


def test_patches_before_it_see_windows(attended, merging, models, sample):
    model, seen = attended(models["eps"])
    sample("sampler", merging(model))
    assert set(seen) == {(10, 64), (10, 16)}


@pytest.mark.parametrize("end", [0.0, 0.4, 1.0])
def test_after_end_percent_windows_are_alone(end, attended, merging, models, panorama, windows):
    """By the noise level of each of the eight steps against the host's own of that share of the schedule."""
    model, seen = attended(merging(models["eps"], end))
    panorama(model, windows(64, 32))
    sampling = models["eps"].get_model_object("model_sampling")
    levels = comfy.samplers.calculate_sigmas(sampling, "normal", 8)[:-1]
    layers = len(seen) // 8
    assert [rows == 2 for rows, _ in seen[::layers]] == (levels > sampling.percent_to_sigma(end)).tolist()


def test_ended_at_once_it_is_plain_multidiffusion(merging, models, sample):
    assert torch.equal(sample("sampler", merging(models["eps"], 0.0)), sample("sampler", models["eps"]))


@pytest.mark.parametrize("how", WAYS)
def test_each_sample_of_a_batch_is_its_own_run(how, merging, models, sample, small, close):
    latent = small.empty_latent(192, 64, batch=2)
    latent["samples"][1] = torch.randn(4, 8, 24, generator=torch.manual_seed(5))
    both = sample(how, merging(models["eps"]), latent=latent)
    for index in (0, 1):
        one = {**latent, "samples": latent["samples"][index : index + 1], "batch_index": [index]}
        close(both[index : index + 1], sample(how, merging(models["eps"]), latent=one))


@pytest.mark.parametrize("how", WAYS)
def test_conditions_evaluated_apart_give_the_same(how, merging, models, sample, small, monkeypatch, close):
    """Where memory is short the host evaluates the conditions of CFG one after the other."""
    model = merging(models["eps"])
    together = sample(how, model)
    free = type(model).get_free_memory
    monkeypatch.setattr(type(model), "get_free_memory", lambda self, device: 0)
    apart = sample(how, model)
    monkeypatch.setattr(type(model), "get_free_memory", free)
    close(apart, together)


@pytest.mark.parametrize("how", WAYS)
def test_batches_of_fewer_windows_are_refused(how, merging, models, sample):
    with pytest.raises(ValueError, match="windows_per_batch: .* all 5 windows in one model call, got 2; set it to 0"):
        sample(how, merging(models["eps"]), per_batch=2)


def test_nothing_remains_on_the_model(merging, models, sample, ksampler):
    model = models["eps"]
    options, stock, through = repr(model.model_options), ksampler(model), sample("sampler", model)
    sample("sampler", merging(model))
    assert repr(model.model_options) == options
    assert torch.equal(ksampler(model), stock)
    assert torch.equal(sample("sampler", model), through)


class TestMasks:
    """Masked conditions are evaluated in all windows, so that there is one call; areas are not."""

    @pytest.mark.parametrize("how", WAYS)
    def test_masks_of_parts_are_taken(self, how, merging, models, sample, small, attended):
        model, seen = attended(merging(models["eps"]))
        mask = torch.zeros(1, 64, 192)
        mask[..., :40] = 1
        positive = small.conditioning(1, mask=mask, mask_strength=1.0) + small.conditioning(4)
        assert sample(how, model, positive=positive).isfinite().all()
        assert {tokens for _, tokens in seen} == {192, 48}

    @pytest.mark.parametrize("how", WAYS)
    def test_without_attention_such_a_mask_gives_what_it_gave(
        self, how, merging, models, sample, small, monkeypatch, module_of, close
    ):
        """The windows that a mask hides a condition from cost a call, and change nothing."""
        mask = torch.zeros(1, 64, 192)
        mask[..., :40] = 1
        positive = small.conditioning(1, mask=mask, mask_strength=1.0) + small.conditioning(4)
        plain = sample(how, models["eps"], positive=positive)
        module = module_of("host.conditioning.attention_merging")
        monkeypatch.setattr(module, "_call", lambda x, options: None)
        close(sample(how, merging(models["eps"]), positive=positive), plain)

    @pytest.mark.parametrize("how", WAYS)
    def test_areas_are_refused(self, how, merging, models, sample, small):
        positive = small.conditioning(1, area=(8, 8, 0, 0), strength=1.0) + small.conditioning(4)
        with pytest.raises(ValueError, match="an area or a GLIGEN box .* use masks"):
            sample(how, merging(models["eps"]), positive=positive)


class TestGuidance:
    """What guidance evaluates for itself is of windows alone."""

    @pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
    @pytest.mark.parametrize("gradient", ["through the model", "forward only", "image prior (Wiener)"])
    def test_the_step_is_merged_and_the_gradient_is_not(
        self, gradient, sampler, attended, merging, models, panorama, windows, guidance
    ):
        model, seen = attended(merging(models["eps"]))
        guide = guidance(weight=200.0, end_percent=1.0, gradient=gradient)
        result = panorama(model, windows(64, 32), guidance=guide, steps=2, sampler_name=sampler)[0]["samples"]
        assert result.isfinite().all()
        assert {tokens for _, tokens in seen} == {192, 48, 64, 16}

    @pytest.mark.parametrize("preset", ["balanced", "fast"])
    def test_every_step_of_a_preset_is_merged_too(self, preset, attended, merging, models, panorama, windows, guidance):
        """Though they do without a second pass elsewhere: what guidance looks at is of windows alone."""
        model, seen = attended(merging(models["eps"], 1.0))
        guide = guidance(weight=200.0, end_percent=1.0, preset=preset)
        panorama(model, windows(64, 32), guidance=guide, steps=4)
        guided = sum(tokens == 192 for _, tokens in seen)
        seen.clear()
        panorama(model, windows(64, 32), steps=4)
        assert guided == sum(tokens == 192 for _, tokens in seen) > 0

    @pytest.mark.parametrize("gradient", ["through the model", "forward only"])
    def test_gradients_do_not_depend_on_how_many_windows_they_take(
        self, gradient, merging, models, panorama, windows, guidance, module_of, monkeypatch
    ):
        """All five windows in one gradient pass, or two: it is never merged."""
        pictures, module = [], module_of("host.run.resolved")
        planned = module.window_memory
        for size in (2, 5):
            take = lambda *args, size=size: replace(planned(*args), pulled=size, decoded=size)  # noqa: E731
            monkeypatch.setattr(module, "window_memory", take)
            guide = guidance(weight=200.0, end_percent=1.0, gradient=gradient)
            inputs = {"guidance": guide, "steps": 3}
            pictures.append(panorama(merging(models["eps"]), windows(64, 32), **inputs)[0]["samples"])
        assert (pictures[0] - pictures[1]).abs().max() <= 1e-4 * pictures[0].abs().max()

    def test_with_a_picture_to_keep(self, merging, models, panorama, windows, guidance, small):
        mask = torch.zeros(1, 64, 192)
        mask[..., 64:] = 1
        latent = {**small.empty_latent(192, 64), "noise_mask": mask}
        guide = guidance(weight=200.0, end_percent=1.0)
        inputs = {"guidance": guide, "steps": 2, "latent_image": latent}
        assert panorama(merging(models["eps"]), windows(64, 32), **inputs)[0]["samples"].isfinite().all()


PATCHES = {
    "PerturbedAttentionGuidance": {"scale": 2.0},
    "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
    "RescaleCFG": {"multiplier": 0.7},
}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("node", PATCHES)
def test_patches_of_the_host_act_beside_it(node, how, before, merging, models, sample, run_node):
    def patched(model):
        return run_node(node, model=model, **PATCHES[node])[0]

    both = merging(patched(models["eps"])) if before else patched(merging(models["eps"]))
    merged = sample(how, both)
    assert merged.isfinite().all()
    assert not torch.allclose(merged, sample(how, merging(models["eps"])))
    assert not torch.allclose(merged, sample(how, patched(models["eps"])))


def test_patches_of_keys_and_values_are_merged_too(merging, models, sample, close):
    """As hypernetworks: keys and values from something else than the queries. A linear one commutes with the mean."""

    def halve(q, k, v, options):
        return q, 0.5 * k, 2.0 * v

    before, after = models["eps"].clone(), merging(models["eps"])
    before.set_model_attn1_patch(halve)
    after.set_model_attn1_patch(halve)
    close(sample("sampler", merging(before)), sample("sampler", after))


def test_an_attention_that_replaces_the_hosts_sees_the_canvas(merging, models, sample):
    seen, model = [], merging(models["eps"])

    def replace(q, k, v, options):
        seen.append(tuple(q.shape[:2]))
        return v

    model.set_model_attn1_replace(replace, "middle", 0)
    sample("sampler", model)
    assert set(seen) == {(2, 48)}


class TestRefused:
    @pytest.mark.parametrize("family", ["flux_model", "wan_model"])
    def test_models_without_a_unet(self, family, merging, small):
        with pytest.raises(ValueError, match="no UNet of pictures .* Use Perceptual Sync Guidance"):
            merging(getattr(small, family)())

    def test_twice(self, merging, models):
        with pytest.raises(ValueError, match="Merge Window Attention is on this model already"):
            merging(merging(models["eps"]))

    @pytest.mark.parametrize("node", ["SelfAttentionGuidance", "TomePatchModel"])
    def test_patches_that_count_the_tokens_of_a_window(self, node, merging, models, sample, run_node):
        model = run_node(node, model=merging(models["eps"]))[0]
        with pytest.raises(ValueError, match="counts the tokens of one window"):
            sample("sampler", model)

    def test_patches_that_add_tokens(self, merging, models, sample):
        model = models["eps"].clone()
        model.set_model_attn1_patch(lambda q, k, v, options: (q, k.repeat(1, 2, 1), v.repeat(1, 2, 1)))
        with pytest.raises(ValueError, match="got 128 tokens to look at for 64"):
            sample("sampler", merging(model))

    def test_windows_one_after_the_other(self, merging, models, panorama, windows):
        algorithm = "sequential (Blended Latent Diffusion)"
        with pytest.raises(ValueError, match="do not cover it; .* another algorithm than 'sequential'"):
            panorama(merging(models["eps"]), windows(64, 32), algorithm=algorithm)


def test_windows_parts_of_a_token_apart(merging, models, panorama, windows, attended):
    """Strides of 3 cells, and a halved layer: its windows' tokens begin at 24 cells of each row but one."""
    model, seen = attended(merging(models["eps"]))
    assert panorama(model, windows(64, 24), steps=1)[0]["samples"].isfinite().all()
    lefts = [0, 3, 6, 9, 12, 15, 16]
    columns = {left + 2 * k for left in lefts for k in range(4)}
    assert {tokens for _, tokens in seen} == {192, 4 * len(columns)}


def test_grids_that_move(merging, models, panorama, windows):
    """Rolled windows hardly overlap: attention is all that joins them in a step."""
    layout = windows(64, 32, grid="rolled")
    merged = panorama(merging(models["eps"]), layout)[0]["samples"]
    assert merged.isfinite().all()
    assert not torch.allclose(merged, panorama(models["eps"], layout)[0]["samples"])


def test_sdxl(merging, small, sample, attended):
    model, seen = attended(merging(small.sdxl_model()))
    assert sample("sampler", model).isfinite().all()
    assert set(seen) == {(2, 192), (2, 48)}


def test_the_demo_model(run_node, panorama, ksampler, windows, merging, close):
    """Wrapped around: by the Panorama Sampler and by Apply Windows under the stock sampler."""
    model, clip, *_ = run_node("SyncDiffusionLoadDemoModel")
    roles = {
        role: run_node("CLIPTextEncode", clip=clip, text=text)[0]
        for role, text in (("positive", "lake"), ("negative", ""))
    }
    layout = windows(128, 32, height=128, wrap_x=True)
    latent = run_node("EmptyLatentImage", width=384, height=128, batch_size=1)[0]
    inputs = {**roles, "steps": 2, "latent_image": latent}
    merged = merging(model)
    ours = panorama(merged, layout, **inputs)[0]["samples"]
    applied = run_node("SyncDiffusionApplyWindows", model=merged, windows=layout)[0]
    close(ours, ksampler(applied, **inputs))
    assert not torch.allclose(ours, panorama(model, layout, **inputs)[0]["samples"])
