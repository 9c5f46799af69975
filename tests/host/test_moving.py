"""Which of the host's samplers keep a move of their state, measured: 1 is all of it."""

import sys
from types import SimpleNamespace

import comfy.samplers
import pytest
import torch

from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.views.schedule import CellGrid, Still

MOVED_STEP, MOVE = 2, 1.0
KEEPS = {
    **dict.fromkeys(("euler", "ddim", "heun", "dpm_2", "dpmpp_2m", "res_multistep", "exp_heun_2_x0"), (0.99, 1.01)),
    **dict.fromkeys(("euler_cfg_pp", "dpmpp_2m_cfg_pp", "res_multistep_cfg_pp"), (0.99, 1.01)),
    **dict.fromkeys(("lms", "ipndm", "ipndm_v", "deis", "gradient_estimation", "er_sde"), (0.7, 1.2)),
    "gradient_estimation_cfg_pp": (0.7, 1.2),
}
CONTRACTS = (
    *("euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"),
    *("ddpm", "seeds_2", "seeds_3", "exp_heun_2_x0_sde", "res_multistep_ancestral", "dpmpp_2m_sde_heun"),
    *("euler_ancestral_cfg_pp", "dpmpp_2s_ancestral_cfg_pp", "res_multistep_ancestral_cfg_pp"),
)
"""Stochastic samplers shrink every difference of state by a further sigma'/sigma, ours as any other."""


class StandIn:
    """A guider as far as samplers look into one, whose model always predicts 0."""

    def __init__(self, model):
        self.model_patcher, self.inner_model, self.model_options = model, model.model, {}


class Moved:
    """A model that predicts 0 and whose Mover adds MOVE to the state once, at the opening of MOVED_STEP."""

    def __init__(self, host_sampler, model, sigmas, name, move):
        self.inner_model = StandIn(model)
        guidance = type("Guidance", (), {"guides": lambda self, step: step == MOVED_STEP and move})()
        type(guidance).__call__ = lambda self, moment: SimpleNamespace(x=moment.x + MOVE, x0=None)
        names = [comfy.samplers.ksampler(name).sampler_function.__name__]
        windowed, openings = (
            sys.modules[host_sampler.__name__.replace(".sampler", f".{name}")] for name in ("windowed", "openings")
        )
        windows = Still(WindowLayout(64, 64, 64, 64).tiled((8, 8), CellGrid(8)))
        self.openings = openings.Openings(sigmas, names)
        self.mover = windowed.Mover(guidance, None, None, windows, self.openings)

    def __call__(self, x, sigma, **kwargs):
        self.mover.move(x, float(sigma[0]))
        zeros = torch.zeros_like(x)
        for read in kwargs.get("model_options", {}).get("sampler_post_cfg_function", ()):
            read({"denoised": zeros, "uncond_denoised": zeros})
        return zeros


@pytest.fixture
def response(pack, models):
    """response(sampler) -> (share of the move in the final state, sigma ratio from its step to the end).

    With a constant prediction a state shrinks with sigma, and so must the move.
    """
    host_sampler = sys.modules[pack["SyncDiffusionSampler"].__module__.replace(".sampler", ".host.run.sampler")]
    sigmas = comfy.samplers.calculate_sigmas(models["eps"].model.model_sampling, "karras", 20)[:11]

    def measure(name: str) -> tuple[float, float]:
        sampler = comfy.samplers.sampler_object(name)

        def run(move: bool) -> torch.Tensor:
            torch.manual_seed(0)
            levels = [float(s) for s in sigmas]
            model = Moved(host_sampler, models["eps"], levels, "euler" if name == "ddim" else name, move)
            x = torch.full((1, 4, 8, 8), 3.0) * sigmas[0]
            extra = {"seed": 1, "model_options": {}}
            told = {"callback": lambda _: model.openings.tell(), "disable": True}
            return sampler.sampler_function(model, x, sigmas, extra_args=extra, **told, **sampler.extra_options)

        ratio = float(sigmas[-1] / sigmas[MOVED_STEP])
        return float((run(True) - run(False)).mean()) / (MOVE * ratio), ratio

    return measure


@pytest.mark.parametrize("name", KEEPS)
def test_deterministic_samplers_keep_the_move(response, name):
    low, high = KEEPS[name]
    assert low <= response(name)[0] <= high


@pytest.mark.parametrize("name", CONTRACTS)
def test_stochastic_samplers_shrink_it_by_their_own_rule(response, name):
    share, ratio = response(name)
    assert share == pytest.approx(ratio, rel=0.05)


def test_lcm_keeps_no_state_so_only_its_prediction_is_moved(response):
    assert response("lcm")[0] == pytest.approx(0, abs=1e-6)
