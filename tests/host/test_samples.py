"""Two pictures in one batch: patches and prompts that tell samples apart do so in every window."""

import functools

import pytest
import torch

TOKENS = torch.randn(2, 5, 32, generator=torch.manual_seed(6))  # what a batch adapter has made of two pictures
WAYS = ("sampler", "custom", "apply windows")


def rows_of(tensor, x, extra_options):
    """The rows of a tensor for a call of the model, as IPAdapter takes them: the last one for what is beyond."""
    count = len(x) // len(extra_options["cond_or_uncond"])
    tensor = tensor[:count]
    tensor = torch.cat([tensor, tensor[-1:].expand(count - len(tensor), *tensor.shape[1:])])
    return tensor.repeat(len(x) // count, *[1] * (tensor.ndim - 1))


class Adapter:
    """As IPAdapter's: attention to further tokens, a row of them for each sample."""

    def __init__(self, tokens):
        self.kwargs = [{"weight": 1.0, "cond": tokens}]

    def __call__(self, q, k, v, extra_options):
        (settings,) = self.kwargs
        tokens = rows_of(settings["cond"], q, extra_options)
        return q, torch.cat([k, tokens], dim=1), torch.cat([v, tokens], dim=1)


def closure(tokens):
    return lambda q, k, v, options: Adapter(tokens)(q, k, v, options)


def given(tokens, q, k, v, extra_options):
    return Adapter(tokens)(q, k, v, extra_options)


def each(tokens):
    """A list of pictures, one for each sample."""
    pictures = list(tokens.split(1))
    return lambda q, k, v, options: Adapter(torch.cat(pictures))(q, k, v, options)


def strengths(tokens):
    """A number for each sample."""
    numbers = tokens[:, 0, 0]
    return lambda q, k, v, options: (q * (1 + rows_of(numbers, q, options)[:, None, None]), k, v)


PATCHES = {
    "an object": Adapter,
    "a closure": closure,
    "a partial": lambda tokens: functools.partial(given, tokens),
    "a list": each,
    "numbers": strengths,
}


def patched(model, patch):
    clone = model.clone()
    clone.set_model_attn2_patch(patch)
    return clone


def batch(small):
    noise = torch.zeros(2, 4, 8, 24)
    return {**small.empty_latent(192, 64), "samples": noise, "batch_index": [0, 0]}  # the same noise for both


@pytest.mark.parametrize("per_batch", [0, 3])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", PATCHES)
def test_each_sample_is_its_own_run(name, how, per_batch, windowed, models, small, oracle):
    prompts = small.conditioning(1), small.conditioning(2)
    both = windowed(how, patched(models["eps"], PATCHES[name](TOKENS)), *prompts, per_batch, latent=batch(small))
    for sample, tokens in enumerate(TOKENS.split(1)):
        alone = windowed(how, patched(models["eps"], PATCHES[name](tokens)), *prompts, 1)
        oracle.agree(both[sample : sample + 1], alone)


def test_it_is_said(windowed, models, small, host):
    host.server.events.clear()
    windowed("sampler", patched(models["eps"], Adapter(TOKENS)), small.conditioning(1), small.conditioning(2))
    said = "\n".join(str(data) for _, data in host.server.events)
    assert "one window a call: the patch Adapter holds a tensor for each sample" in said


@pytest.mark.parametrize("how", WAYS)
def test_two_pictures_for_one_sample_are_what_the_host_makes_of_them(how, windowed, models, small, oracle):
    prompts = small.conditioning(1), small.conditioning(2)
    two = windowed(how, patched(models["eps"], Adapter(TOKENS)), *prompts)
    oracle.agree(two, windowed(how, patched(models["eps"], Adapter(TOKENS[:1])), *prompts))


def test_the_function_wrapper_of_a_model_too(windowed, models, small, oracle):
    def wrapper_of(numbers):
        def wrapper(apply, args):
            options = {"cond_or_uncond": args["cond_or_uncond"]}
            rows = rows_of(numbers, args["input"], options).reshape(-1, 1, 1, 1)
            return apply(args["input"], args["timestep"], **args["c"]) * rows

        return wrapper

    def model_with(numbers):
        clone = models["eps"].clone()
        clone.set_model_unet_function_wrapper(wrapper_of(numbers))
        return clone

    prompts, numbers = (small.conditioning(1), small.conditioning(2)), torch.tensor([1.0, 0.5])
    both = windowed("sampler", model_with(numbers), *prompts, latent=batch(small))
    for sample in range(2):
        oracle.agree(both[sample : sample + 1], windowed("sampler", model_with(numbers[sample:][:1]), *prompts, 1))


def test_merged_attention_needs_all_windows_in_one_call(windowed, models, small, run_node):
    model = run_node("SyncDiffusionMergeAttention", model=patched(models["eps"], Adapter(TOKENS)))[0]
    with pytest.raises(
        ValueError, match="the patch Adapter holds a tensor for each sample and needs one window a call"
    ):
        windowed("sampler", model, small.conditioning(1), small.conditioning(2))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("how", WAYS)
def test_prompts_for_each_sample(count, how, windowed, models, small, oracle):
    """A prompt may hold a row for each sample; of more rows than samples the host takes the first."""
    rows = [small.conditioning(seed) for seed in (1, 5, 6)][:count]
    text = torch.cat([entry[0][0] for entry in rows])
    both = windowed(how, models["eps"], [[text, rows[0][0][1]]], small.conditioning(2), latent=batch(small))
    for sample in range(2):
        oracle.agree(both[sample : sample + 1], windowed(how, models["eps"], rows[sample], small.conditioning(2)))


def test_a_mask_of_the_canvas_without_a_telling_name_is_refused(windowed, models, small):
    def patch(q, k, v, extra_options, places):
        return q, k, v

    couple = functools.partial(patch, places=torch.ones(1, 64, 192))
    with pytest.raises(ValueError, match=r"holds a picture of the canvas \('places'\)"):
        windowed("sampler", patched(models["eps"], couple), small.conditioning(1), small.conditioning(2))


def test_a_function_after_cfg_that_holds_a_picture_is_refused(windowed, models, small):
    mask = torch.ones(1, 1, 8, 24)
    clone = models["eps"].clone()
    clone.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * (1 if mask is None else 1.0))
    with pytest.raises(ValueError, match="holds a picture of the canvas"):
        windowed("sampler", clone, small.conditioning(1), small.conditioning(2))


class Nested(torch.nn.Module):
    """A network whose part holds the pictures."""

    def __init__(self, tokens):
        super().__init__()
        self.part = torch.nn.Module()
        self.part.register_buffer("pictures", tokens)

    def forward(self, *args):
        return Adapter(self.part.pictures)(*args)


def far_down(tokens):
    held = {"a": {"b": {"c": [{"d": {"e": tokens}}]}}}
    return lambda *args: Adapter(held["a"]["b"]["c"][0]["d"]["e"])(*args)


def as_numbers(tokens):
    numbers = tokens.tolist()
    return lambda *args: Adapter(torch.tensor(numbers))(*args)


def drawn(tokens):
    """From an iterator, which cannot be looked into."""
    forever = iter(lambda: tokens, None)
    return lambda *args: Adapter(next(forever))(*args)


def of_objects(tokens):
    held = {f"picture {k}": {"cond": part, "weight": 1.0} for k, part in enumerate(tokens.split(1))}
    return lambda *args: Adapter(torch.cat([each["cond"] for each in held.values()]))(*args)


def override_of(tokens):
    numbers = tokens[:, 0, 0]

    def override(attention, q, k, v, *args, transformer_options, **kwargs):
        out = attention(q, k, v, *args, transformer_options=transformer_options, **kwargs)
        return out * (1 + rows_of(numbers, out, transformer_options).reshape(-1, *[1] * (out.ndim - 1)))

    return override


def with_override(model, tokens):
    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = override_of(tokens)
    return clone


def with_options(model, tokens):
    """The pictures are in the model's options, and the patch holds nothing."""
    clone = patched(model, lambda q, k, v, options: Adapter(options["pictures"])(q, k, v, options))
    clone.model_options["transformer_options"]["pictures"] = tokens
    return clone


def with_object_patch(model, tokens):
    forward, numbers = type(model.model.diffusion_model).forward, tokens[:, 0, 0]

    def patch(x, *args, transformer_options, **kwargs):
        rows = rows_of(numbers, x, transformer_options).reshape(-1, 1, 1, 1)
        network = model.model.diffusion_model
        return forward(network, x, *args, transformer_options=transformer_options, **kwargs) * (1 + rows)

    clone = model.clone()
    clone.add_object_patch("diffusion_model.forward", patch)
    return clone


HIDDEN = {
    make.__name__: lambda model, tokens, make=make: patched(model, make(tokens))
    for make in (Nested, far_down, as_numbers, drawn, of_objects)
} | {make.__name__: make for make in (with_override, with_options, with_object_patch)}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", HIDDEN)
def test_however_a_patch_holds_its_pictures(name, how, windowed, models, small, oracle):
    prompts = small.conditioning(1), small.conditioning(2)
    both = windowed(how, HIDDEN[name](models["eps"], TOKENS), *prompts, latent=batch(small))
    for sample, tokens in enumerate(TOKENS.split(1)):
        oracle.agree(both[sample : sample + 1], windowed(how, HIDDEN[name](models["eps"], tokens), *prompts, 1))


@pytest.mark.parametrize("node", ["FreeU_V2", "PerturbedAttentionGuidance", "RescaleCFG"])
def test_the_hosts_own_patches_leave_windows_in_one_call(node, windowed, models, small, run_node, host):
    model = run_node(node, model=models["eps"])[0]
    host.server.events.clear()
    windowed("sampler", model, small.conditioning(1), small.conditioning(2), latent=batch(small))
    assert "one window a call" not in "\n".join(str(data) for _, data in host.server.events)
