"""Which call of a sampler opens a step: told right for every sampler of the host, whatever level the model is told."""

import comfy.samplers
import pytest
import torch

LOST = ("uni_pc", "uni_pc_bh2", "sa_solver", "sa_solver_pece", "dpm_adaptive", "dpm_fast", "heunpp2")
SAMPLERS = [name for name in comfy.samplers.KSampler.SAMPLERS if not name.startswith(LOST)]
LIES = {
    "none": lambda level, step: 1.0,
    "lower": lambda level, step: 0.95,
    "much lower": lambda level, step: 0.6,
    "higher": lambda level, step: 1.1,
    "with the level": lambda level, step: 1 - 0.05 * min(level, 1),
    "from the middle on": lambda level, step: 0.97 if level < 1 else 1.0,
}


class Recording:
    """A model that predicts a part of its input, asks Openings about every call, and knows the answer afterwards."""

    def __init__(self, openings, model, lie):
        self.openings, self.lie, self.calls, self.told, self.opened = openings, lie, 0, [], []
        self.inner_model = type("Guider", (), {"inner_model": model.model, "model_patcher": model, "model_options": {}})

    def __call__(self, x, sigma, model_options=None, **kwargs):
        level = float(sigma[0])
        step = self.openings.of(level * self.lie(level, len(self.told)))
        if step is not None:
            self.opened.append((step, self.calls))
        self.calls += 1
        for function in (model_options or {}).get("sampler_post_cfg_function", ()):
            function({"denoised": x / 2, "uncond_denoised": x / 3})
        return x / 2

    def tell(self, told):
        """The last call was the first one of its step."""
        self.told.append((told["i"], self.calls - 1))
        self.openings.tell()


@pytest.fixture
def recorded(module_of, models):
    def run(name, lie, named=True, steps=8):
        module, sampler = module_of("host.run.openings"), comfy.samplers.sampler_object(name)
        levels = comfy.samplers.calculate_sigmas(models["eps"].model.model_sampling, "karras", steps)
        names = [sampler.sampler_function.__name__] if named else []
        model = Recording(module.Openings(levels.tolist(), names), models["eps"], lie)
        torch.manual_seed(0)
        x, extra = torch.randn(1, 4, 8, 8) * levels[0], {"seed": 1, "model_options": {}}
        sampler.sampler_function(model, x, levels, extra_args=extra, callback=model.tell, disable=True)
        return model

    return run


@pytest.mark.parametrize("lie", [name for name in LIES if name != "from the middle on"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_step_is_opened_by_its_first_call(name, lie, recorded):
    model = recorded(name, LIES[lie])
    assert model.opened == model.told
    assert len(model.opened) == 8


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_lie_that_begins_later_costs_no_step(name, recorded):
    model = recorded(name, LIES["from the middle on"])
    assert model.opened == model.told


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_of_unknown_names_are_learnt_from_their_first_steps(name, lie, recorded):
    model = recorded(name, LIES[lie], named=False)
    assert model.opened[2:] == model.told[2:]


def test_a_sampler_that_tells_nothing_is_known_by_its_levels(module_of):
    openings = module_of("host.run.openings").Openings([8.0, 4.0, 2.0, 0.0])
    assert [openings.of(level) for level in (8.0, 5.6, 4.0, 2.8, 2.0)] == [0, None, 1, None, 2]


def test_levels_that_come_twice(module_of):
    openings = module_of("host.run.openings").Openings([8.0, 4.0, 4.0, 2.0, 0.0])
    assert [openings.of(level) for level in (8.0, 4.0, 4.0, 2.0)] == [0, 1, 2, 3]


def test_a_step_that_is_left_out(module_of):
    openings = module_of("host.run.openings").Openings([8.0, 4.0, 2.0, 1.0, 0.0])
    assert [openings.of(level) for level in (8.0, 2.0, 1.0)] == [0, 2, 3]
