"""The host's own patches of a model, and the nodes of others, beside ours: they act on windows, or are refused."""

import comfy.hooks
import comfy.samplers
import pytest
import torch


@pytest.fixture
def patched(run_node, models):
    """patched(node, **inputs) -> the small model behind a node of the host."""

    def make(node, **inputs):
        return run_node(node, model=models["eps"], **inputs)[0]

    return make


PATCHES = {
    "PerturbedAttentionGuidance": {"scale": 2.0},
    "SelfAttentionGuidance": {"scale": 1.0, "blur_sigma": 2.0},
    "APG": {"eta": 0.5, "norm_threshold": 5.0, "momentum": 0.0},
    "RescaleCFG": {"multiplier": 0.7},
    "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
}


@pytest.mark.parametrize("node", PATCHES)
def test_patches_act_in_one_window_as_in_the_stock_sampler(node, patched, panorama, windows, ksampler, small):
    model, latent = patched(node, **PATCHES[node]), small.empty_latent(128, 64)
    ours, _ = panorama(model, windows(128, 64), latent_image=latent)
    stock = ksampler(model, latent_image=latent)
    assert (ours["samples"] - stock).abs().max() <= 1e-5 * stock.abs().max()


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("node", PATCHES)
def test_patches_act_on_windows(node, guided, patched, models, panorama, windows, guidance):
    """Each changes the picture, and the picture does not depend on how many windows a call holds."""
    model, layout = patched(node, **PATCHES[node]), windows(64, 32)
    guide = guidance(weight=200.0, end_percent=1.0, gradient="forward only") if guided else None
    inputs = {"steps": 2, "guidance": guide}
    one, all_ = (panorama(model, layout, windows_per_batch=n, **inputs)[0]["samples"] for n in (1, 0))
    without = panorama(models["eps"], layout, **inputs)[0]["samples"]
    assert (one - all_).abs().max() <= 1e-4 * all_.abs().max()
    assert not torch.allclose(all_, without)


@pytest.mark.parametrize("node", [node for node in PATCHES if node != "SelfAttentionGuidance"])
def test_patches_act_under_apply_windows(node, patched, models, ksampler, windows, run_node):
    with_windows = {"windows": windows(64, 32)}
    model = run_node("SyncDiffusionApplyWindows", model=patched(node, **PATCHES[node]), **with_windows)[0]
    plain = run_node("SyncDiffusionApplyWindows", model=models["eps"], **with_windows)[0]
    ours = ksampler(model, steps=2)
    assert ours.isfinite().all()
    assert not torch.allclose(ours, ksampler(plain, steps=2))


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("APG", {"momentum": 0.5}, ["Adaptive Projected Guidance", "momentum to 0"]),
        ("EasyCache", {}, ["EasyCache", "remove"]),
        ("LazyCache", {}, ["LazyCache", "remove"]),
    ],
)
def test_patches_with_a_memory_are_refused_by_the_samplers(node, inputs, words, patched, panorama, windows):
    with pytest.raises(ValueError, match="another part of the canvas") as error:
        panorama(patched(node, **inputs), windows(64, 32))
    assert not [word for word in words if word not in str(error.value)]


@pytest.mark.parametrize("node", ["EasyCache", "SelfAttentionGuidance"])
def test_patches_with_a_memory_are_refused_by_apply_windows(node, patched, ksampler, windows, run_node):
    model = run_node("SyncDiffusionApplyWindows", model=patched(node), windows=windows(64, 32))[0]
    with pytest.raises(ValueError, match="another part of the canvas"):
        ksampler(model)


@pytest.mark.parametrize("node", ["APG", "LazyCache"])
def test_patches_with_a_memory_of_the_canvas_stay_under_apply_windows(node, patched, ksampler, windows, run_node):
    inputs = {"momentum": 0.5} if node == "APG" else {}
    model = run_node("SyncDiffusionApplyWindows", model=patched(node, **inputs), windows=windows(64, 32))[0]
    assert ksampler(model).isfinite().all()


def test_a_later_function_wrapper_does_not_turn_windows_off(models, ksampler, windows, run_node):
    """The host has one slot for it, and other tiling packs live there: the last node would win."""
    layout, widths = windows(64, 32), []
    model = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=layout)[0]
    expected = ksampler(model)

    def wrapper(apply, args):
        widths.append(args["input"].shape[-1])
        return apply(args["input"], args["timestep"], **args["c"])

    later = model.clone()
    later.set_model_unet_function_wrapper(wrapper)
    assert torch.equal(ksampler(later), expected)
    assert set(widths) == {8}


def test_two_apply_windows_complain(models, windows, run_node):
    once = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=windows(64, 32))[0]
    with pytest.raises(ValueError, match="already"):
        run_node("SyncDiffusionApplyWindows", model=once, windows=windows(64, 64))


@pytest.fixture
def lora(models):
    """A LoRA on one weight of the small model, as a file's state dict."""
    name, weight = next((n, p) for n, p in models["eps"].model.state_dict().items() if n.endswith("attn1.to_q.weight"))
    generator = torch.Generator().manual_seed(8)
    base = "lora_unet_" + name.removeprefix("diffusion_model.").removesuffix(".weight").replace(".", "_")
    return {
        f"{base}.lora_up.weight": torch.randn(weight.shape[0], 4, generator=generator),
        f"{base}.lora_down.weight": torch.randn(4, weight.shape[1], generator=generator),
    }


@pytest.mark.parametrize("how", ["sampler", "guided", "apply windows"])
def test_lora_hooks_change_windows_by_their_keyframes(
    how, lora, small, models, panorama, ksampler, windows, guidance, run_node
):
    """A LoRA hook with a keyframe at half: as without it before, as with it after, in every window."""
    layout = windows(64, 32)

    def sample(hooks):
        positive = small.conditioning(1, **({"hooks": hooks} if hooks is not None else {}))
        if how == "apply windows":
            model = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=layout)[0]
            return ksampler(model, positive=positive, steps=4)
        guide = guidance(weight=200.0, end_percent=1.0) if how == "guided" else None
        return panorama(models["eps"], layout, positive=positive, steps=4, guidance=guide)[0]["samples"]

    def hook(*strengths):
        group = comfy.hooks.create_hook_lora(lora=lora, strength_model=1.0, strength_clip=0.0)
        frames = comfy.hooks.HookKeyframeGroup()
        for k, strength in enumerate(strengths):
            frames.add(comfy.hooks.HookKeyframe(strength=strength, start_percent=k / len(strengths)))
        group.set_keyframes_on_hooks(frames)
        return group

    plain, whole, late = sample(None), sample(hook(1.0)), sample(hook(0.0, 1.0))
    assert not torch.allclose(plain, whole)
    assert not torch.allclose(plain, late)
    assert not torch.allclose(whole, late)
    assert torch.equal(sample(None), plain), "nothing of the hook remains"


class HoldsPicture:
    """As the host's DiffSynthCnetPatch, Z-Image and Anima controls: an image of the canvas, used whole."""

    def __init__(self):
        self.image, self.strength = torch.rand(1, 64, 192, 3), 1.0

    def __call__(self, args):
        return args


class HoldsMasks:
    """As an adapter that is one patch for several images: a list of settings, some with a mask."""

    def __init__(self, mask):
        self.kwargs = [{"weight": 1.0, "mask": None}, {"weight": 0.5, "mask": mask}]

    def __call__(self, q, k, v, extra_options):
        return q


def attention_couple(mask):
    def patch(q, k, v, extra_options):
        return q * (1 if mask is None else 1.0), k, v

    return patch


class TestPictures:
    """Patches with a picture or a mask of the canvas cannot be cut: refused by name, wherever they hang."""

    PATCHES = {
        "HoldsPicture": lambda model: model.set_model_patch(HoldsPicture(), "double_block"),
        "HoldsPicture.__call__": lambda model: model.set_model_patch(HoldsPicture().__call__, "post_input"),
        "HoldsMasks": lambda model: model.set_model_attn2_replace(HoldsMasks(torch.ones(1, 64, 192)), "middle", 0),
        "attention_couple": lambda model: model.set_model_attn2_patch(attention_couple(torch.ones(1, 64, 192))),
    }

    @pytest.mark.parametrize("how", ["sampler", "apply windows"])
    @pytest.mark.parametrize("name", PATCHES)
    def test_they_are_refused_by_name(self, how, name, models, small, windowed):
        model = models["eps"].clone()
        self.PATCHES[name](model)
        with pytest.raises(
            ValueError, match=rf"model: the patch {name} holds a picture of the canvas \('(image|mask)'\)"
        ):
            windowed(how, model, small.conditioning(1), small.conditioning(2))

    def test_in_a_hook_too(self, models, small, windowed):
        patches = {"patches": {"attn2_patch": [attention_couple(torch.ones(1, 64, 192))]}}
        scope = comfy.hooks.EnumHookScope.HookedOnly
        group = comfy.hooks.HookGroup()
        group.add(comfy.hooks.TransformerOptionsHook(patches, hook_scope=scope))
        with pytest.raises(ValueError, match="attention_couple holds a picture"):
            windowed("sampler", models["eps"], small.conditioning(1, hooks=group), small.conditioning(2))

    def test_one_window_and_patches_without_are_let_through(self, models, panorama, windows):
        model = models["eps"].clone()
        self.PATCHES["HoldsMasks"](model)
        assert panorama(model, windows(192, 192), steps=1)[0]["samples"].isfinite().all()
        free = models["eps"].clone()
        free.set_model_attn2_patch(attention_couple(None))
        assert panorama(free, windows(64, 32), steps=1)[0]["samples"].isfinite().all()


@pytest.mark.parametrize("how", ["sampler", "apply windows"])
def test_a_cache_of_keys_is_refused(how, small, windowed, run_node):
    model = run_node("FluxKVCache", model=small.flux_model())[0]
    with pytest.raises(ValueError, match="Flux KV Cache keeps .* another part of the canvas"):
        windowed(how, model, small.conditioning(1), small.conditioning(2))
