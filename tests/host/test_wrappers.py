"""Samplers inside samplers, as other packs make them: whatever the order, windows act, and guidance does."""

import functools

import comfy.k_diffusion.sampling
import comfy.samplers
import pytest
import torch

LIE = 0.95
GUIDE = {"weight": 1000.0, "end_percent": 1.0, "gradient": "image prior (Wiener)"}


def lying(model, factor=LIE):
    """A model that is told another noise level, as Lying Sigma does it."""

    def call(x, sigma, **extra_args):
        return model(x, sigma * factor, **extra_args)

    call.inner_model = model.inner_model
    return call


def around(inner, wrap=lying):
    """A SAMPLER that runs another one on a wrapped model, by a function that has it in a closure."""

    def sample(model, x, sigmas, **kwargs):
        return inner.sampler_function(wrap(model), x, sigmas, **kwargs, **inner.extra_options)

    return comfy.samplers.KSAMPLER(sample)


def daemon(inner):
    """The same as Detail Daemon is made: the wrapped sampler is an option, the lie follows the schedule."""

    def sample(model, x, sigmas, *, wrapped, **kwargs):
        levels = [float(sigma) for sigma in sigmas]

        def call(x, sigma, **extra_args):
            level = float(sigma.max())
            part = sum(level <= other for other in levels) / len(levels)
            return model(x, sigma * (1 - 0.1 * part * (part > 0.3)), **extra_args)

        for name in ("inner_model", "sigmas"):
            if hasattr(model, name):
                setattr(call, name, getattr(model, name))
        return wrapped.sampler_function(call, x, sigmas, **kwargs, **wrapped.extra_options)

    return comfy.samplers.KSAMPLER(sample, {"wrapped": inner})


class Holder:
    """A model as an object around another: it has the host's attributes, but not its class."""

    def __init__(self, model):
        self.held, self.inner_model = model, model.inner_model

    def __call__(self, x, sigma, **extra_args):
        return self.held(x, sigma * LIE, **extra_args)


class Hidden:
    """The same without an attribute that a sampler could find the guider by."""

    def __init__(self, model):
        self.held = model

    def __call__(self, x, sigma, **extra_args):
        return self.held(x, sigma * LIE, **extra_args)


class Derived(comfy.samplers.KSamplerX0Inpaint):
    def __init__(self, model):
        super().__init__(model.inner_model, model.sigmas)
        self.held, self.latent_image, self.noise = model, model.latent_image, model.noise

    def __call__(self, x, sigma, *args, **kwargs):
        return self.held(x, sigma * LIE, *args, **kwargs)


@functools.wraps(comfy.k_diffusion.sampling.sample_euler)
def named_as_euler(model, x, sigmas, **kwargs):
    return comfy.k_diffusion.sampling.sample_euler(lying(model), x, sigmas, **kwargs)


WRAPPERS = {
    "a closure": around,
    "Detail Daemon": daemon,
    "an object": functools.partial(around, wrap=Holder),
    "a partial": lambda inner: around(inner, as_partial),
    "two of them": lambda inner: around(daemon(inner)),
}


def call_lying(model, x, sigma, **extra_args):
    return model(x, sigma * LIE, **extra_args)


def as_partial(model):
    call = functools.partial(call_lying, model)
    call.inner_model = model.inner_model
    return call


@pytest.fixture
def advanced(run_node, small, models):
    """advanced(SAMPLER, model, width px, **latent) -> latent of SamplerCustomAdvanced under CFG."""

    def run(sampler, model=None, steps=6, **latent):
        model = model or models["eps"]
        prompts = {"positive": small.conditioning(1), "negative": small.conditioning(2), "cfg": 4.0}
        return run_node(
            "SamplerCustomAdvanced",
            noise=run_node("RandomNoise", noise_seed=3)[0],
            guider=run_node("CFGGuider", model=model, **prompts)[0],
            sampler=sampler,
            sigmas=run_node("BasicScheduler", model=model, scheduler="karras", steps=steps, denoise=1.0)[0],
            latent_image={**small.empty_latent(192, 64), **latent},
        )[0]["samples"]

    return run


@pytest.fixture
def ours(run_node, windows):
    """ours(inner SAMPLER or name, guidance, **widgets) -> our SAMPLER with windows."""

    def make(inner="euler", guidance=None, **widgets):
        inner = comfy.samplers.sampler_object(inner) if isinstance(inner, str) else inner
        given = {"guidance": guidance} if guidance is not None else {}
        return run_node("SyncDiffusionSampler", windows=windows(64, 32), sampler=inner, **given, **widgets)[0]

    return make


@pytest.fixture
def applied(run_node, models, windows):
    """The small model behind Apply Windows."""
    return run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=windows(64, 32))[0]


def same(one, other, tolerance=2e-5):
    assert (one - other).abs().max() <= tolerance * other.abs().max()


def far(one, other):
    assert (one - other).abs().max() > 1e-3 * other.abs().max()


@pytest.mark.parametrize("inner", ["euler", "dpmpp_2m", "euler_ancestral"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
class TestWindows:
    """Without guidance: the picture of Apply Windows under the stock sampler, wrapped alike."""

    def test_around_ours(self, wrapper, inner, ours, advanced, applied):
        stock = WRAPPERS[wrapper](comfy.samplers.sampler_object(inner))
        same(advanced(WRAPPERS[wrapper](ours(inner))), advanced(stock, applied))

    def test_inside_ours(self, wrapper, inner, ours, advanced, applied):
        stock = WRAPPERS[wrapper](comfy.samplers.sampler_object(inner))
        same(advanced(ours(stock)), advanced(stock, applied))


def own_loop(ask):
    """A SAMPLER of Euler's rule that asks the model in a way of its own."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for step, (sigma, lower) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
            x0 = ask(model, x, sigma * x.new_ones(x.shape[0]), extra_args)
            callback({"x": x, "i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": x0})
            x = x + (x - x0) / sigma * (lower - sigma)
        return x

    return comfy.samplers.KSAMPLER(sample)


def adds_in_place(model, x, sigma, extra_args):
    """It adds a function to the options that it was given, as they are."""
    seen, functions = [], extra_args["model_options"].setdefault("sampler_post_cfg_function", [])
    functions.append(lambda args: (seen.append(args["uncond_denoised"]), args["denoised"])[1])
    x0 = model(x, sigma, **extra_args)
    functions.pop()
    return 0.9 * x0 + 0.1 * seen[0]


def sets_cfg(model, x, sigma, extra_args):
    model.inner_model.cfg = 2.0 if sigma[0] > 2 else 6.0
    return model(x, sigma, **extra_args)


def sets_guider(model, x, sigma, extra_args):
    """Puts a function in the guider's place for a call."""
    before = model.inner_model
    model.inner_model = lambda x, sigma, **given: before(x, sigma * LIE, **given)
    x0 = model(x, sigma, **extra_args)
    model.inner_model = before
    return x0


def asks_with_the_guiders_options(model, x, sigma, extra_args):
    guider = model.inner_model
    conds = guider.conds["positive"], guider.conds["negative"]
    options = guider.model_options
    positive, negative = comfy.samplers.calc_cond_batch(guider.inner_model, list(conds), x, sigma, options)
    return negative + 4 * (positive - negative)


ASKING = (adds_in_place, sets_cfg, sets_guider, asks_with_the_guiders_options)


@pytest.mark.parametrize("ask", ASKING)
def test_samplers_that_ask_in_ways_of_their_own(ask, ours, advanced, applied):
    same(advanced(ours(own_loop(ask))), advanced(own_loop(ask), applied))


@pytest.mark.parametrize("ask", ["predict_noise", "outer_predict_noise", "__call__"])
def test_the_guider_asked_without_options_has_the_runs(ask, ours, advanced, applied):
    bare = own_loop(lambda model, x, sigma, _: getattr(model.inner_model, ask)(x, sigma))
    same(advanced(ours(bare)), advanced(comfy.samplers.sampler_object("euler"), applied))


def test_a_function_around_that_shows_no_guider(ours, advanced, applied):
    same(advanced(around(ours(), Hidden)), advanced(around(comfy.samplers.sampler_object("euler")), applied))


def test_a_noise_mask_under_a_function_around(ours, advanced, applied):
    mask = torch.zeros(1, 64, 192)
    mask[..., 60:] = 1
    latent = {"samples": torch.randn(1, 4, 8, 24, generator=torch.manual_seed(2)), "noise_mask": mask}
    same(
        advanced(around(ours()), **latent), advanced(around(comfy.samplers.sampler_object("euler")), applied, **latent)
    )


class TestGuidance:
    """Wrapped, it moves the picture at every step that has a weight, and the wrapper keeps its own effect."""

    @pytest.mark.parametrize("inner", ["euler", "dpmpp_2m", "heun", "dpm_2", "dpmpp_sde", "seeds_3"])
    @pytest.mark.parametrize("wrapper", WRAPPERS)
    def test_inside_every_step_is_guided(self, wrapper, inner, ours, advanced, guidance, guided_steps):
        stock = WRAPPERS[wrapper](comfy.samplers.sampler_object(inner))
        guided = advanced(ours(stock, guidance(**GUIDE)))
        assert guided_steps() == [1, 2, 3, 4, 5, 6]
        far(guided, advanced(ours(stock)))

    @pytest.mark.parametrize("algorithm", ["automatic", "host sampler"])
    @pytest.mark.parametrize("preset", ["reference", "fast"])
    @pytest.mark.parametrize("wrapper", WRAPPERS)
    def test_around_both_have_an_effect(self, wrapper, preset, algorithm, ours, advanced, guidance):
        guide = guidance(**GUIDE, preset=preset)
        sampler = ours("euler", guide, algorithm=algorithm)
        wrapped = advanced(WRAPPERS[wrapper](sampler))
        far(wrapped, advanced(sampler))
        far(wrapped, advanced(WRAPPERS[wrapper](ours())))

    def test_around_through_the_model(self, ours, advanced, guidance):
        sampler = ours("euler", guidance(**{**GUIDE, "gradient": "through the model"}))
        far(advanced(around(sampler)), advanced(around(ours())))

    def test_around_with_weight_0_is_unguided(self, ours, advanced, guidance):
        same(advanced(around(ours("euler", guidance(weight=0.0)))), advanced(around(ours())))

    def test_around_that_changes_nothing_is_not_there(self, ours, advanced, guidance):
        sampler = ours("euler", guidance(**GUIDE))
        same(advanced(around(sampler, lambda model: lying(model, 1.0))), advanced(sampler))

    @pytest.mark.parametrize("factor", [1.05, 0.8])
    def test_other_lies(self, factor, ours, advanced, guidance, guided_steps):
        stock = around(comfy.samplers.sampler_object("euler"), lambda model: lying(model, factor))
        advanced(ours(stock, guidance(**GUIDE)))
        assert guided_steps() == [1, 2, 3, 4, 5, 6]

    def test_churn_is_a_lie_of_the_sampler_itself(self, ours, advanced, guidance, guided_steps):
        churned = comfy.samplers.ksampler("euler", {"s_churn": 0.5})
        advanced(ours(churned, guidance(**GUIDE)))
        assert guided_steps() == [1, 2, 3, 4, 5, 6]

    def test_a_wrapper_that_calls_itself_euler_is_not_taken_for_it(self, ours, advanced, guidance):
        sampler = comfy.samplers.KSAMPLER(named_as_euler)
        guide = guidance(**GUIDE)
        far(advanced(ours(sampler, guide)), advanced(ours("euler", guide)))

    def test_a_noise_mask_under_a_function_around(self, ours, advanced, guidance):
        picture = torch.randn(1, 4, 8, 24, generator=torch.manual_seed(2))
        mask = torch.zeros(1, 64, 192)
        mask[..., 96:] = 1
        result = advanced(around(ours("euler", guidance(**GUIDE))), samples=picture, noise_mask=mask)
        same(result[..., :12], picture[..., :12])

    def test_a_noise_mask_under_a_class_derived_from_the_hosts(self, ours, advanced, guidance):
        """Its copy would call the host's own model, and show it a window."""
        picture = torch.randn(1, 4, 8, 24, generator=torch.manual_seed(2))
        mask = torch.zeros(1, 64, 192)
        mask[..., 96:] = 1
        result = advanced(around(ours("euler", guidance(**GUIDE)), Derived), samples=picture, noise_mask=mask)
        same(result[..., :12], picture[..., :12])

    def test_a_sampler_that_runs_another_twice(self, ours, advanced, guidance, guided_steps):
        def twice(model, x, sigmas, **kwargs):
            results = [comfy.k_diffusion.sampling.sample_euler(model, x.clone(), sigmas, **kwargs) for _ in range(2)]
            return sum(results) / 2

        assert advanced(ours(comfy.samplers.KSAMPLER(twice), guidance(**GUIDE))).isfinite().all()
        assert guided_steps() == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("hidden", ["uni_pc", "sa_solver"])
    @pytest.mark.parametrize("wrapper", ["a closure", "Detail Daemon"])
    def test_samplers_that_lose_a_move_are_refused_inside_too(self, wrapper, hidden, ours, guidance):
        stock = WRAPPERS[wrapper](comfy.samplers.sampler_object(hidden))
        with pytest.raises(ValueError, match=f"sampler: {hidden} does not carry a move"):
            ours(stock, guidance(**GUIDE))

    def test_a_sampler_that_tells_nothing_says_what_was_left_out(self, ours, advanced, guidance, said):
        def silent(model, x, sigmas, callback=None, **kwargs):
            return comfy.k_diffusion.sampling.sample_euler(lying(model, 0.5), x, sigmas, callback=None, **kwargs)

        advanced(ours(comfy.samplers.KSAMPLER(silent), guidance(**GUIDE)))
        assert "of the 6 steps that have a weight were not guided" in said()


@pytest.fixture
def said(host):
    """said() -> everything that was said under nodes since the last one was started, in one text."""
    return lambda: "\n".join(str(data) for _, data in host.server.events)


@pytest.fixture
def guided_steps(said):
    """guided_steps() -> numbers of the steps that the last run said it has guided, from 1."""
    import re

    return lambda: [int(number) for number in re.findall(r"step (\d+):", said())]
