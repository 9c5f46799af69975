"""Short cuts of the guidance and moving grids in the real host."""

import pytest
import torch

GRIDS = pytest.mark.parametrize("grid", ["as tiled", "half overlapping", "rolled", "alternating"])
ROTATING = "rotating, none overlapping"
CHEAP = {"second_pass": False, "decoder": "light decoder, else pooled latent", "span": 2.0}
"""What the presets have in common."""


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal to float32 accuracy of a guided run."""
    assert (one - other).abs().max() <= 2e-5 * other.abs().max()


@pytest.fixture
def guided(panorama, windows, guidance, models, run_node):
    """guided(savings, **sampler inputs) -> latent of a short guided run on a canvas of three windows' width."""

    def run(savings=None, family="eps", guide=None, layout=None, **inputs):
        saved = {} if savings is None else {"savings": run_node("SyncDiffusionSavings", **savings)[0]}
        settings = {"weight": 200.0, "end_percent": 1.0, "gradient": "image prior (Wiener)", **saved}
        chosen = guidance(**{**settings, **(guide or {})})
        made = panorama(models[family], layout or windows(64, 32), guidance=chosen, **{"steps": 4, **inputs})
        return made[0]["samples"]

    return run


@pytest.mark.parametrize("family", ["eps", "flow"])
@GRIDS
@pytest.mark.parametrize("guided_windows", ["all", ROTATING])
def test_without_a_second_pass_our_loop_and_the_hosts_sampler_are_one(guided, family, grid, guided_windows):
    """A Euler step is linear in the state: windows that move apart and are averaged, or the canvas that moves."""
    savings = {"grid": grid, "windows_guided": guided_windows, "second_pass": False}
    ours = guided(savings, family)
    close(guided(savings, family, algorithm="host sampler"), ours)
    assert not torch.allclose(guided({**savings, "second_pass": True}, family), ours, atol=1e-3)


def test_nothing_left_out_is_the_reference(guided):
    assert torch.equal(guided({}), guided())
    assert torch.equal(guided(guide={"preset": "reference"}), guided())


@pytest.mark.parametrize(
    ("preset", "savings"),
    [
        ("balanced", {"grid": "half overlapping", "strength": 1.2}),
        ("fast", {"grid": "rolled", "strength": 1.5}),
    ],
)
def test_presets_are_options_under_one_name(guided, preset, savings):
    half = {"end_percent": 0.5}
    close(guided(guide={"preset": preset, **half}), guided({**CHEAP, **savings}, guide=half))


def test_a_grid_that_the_tiler_has_stays(guided, windows):
    rolled = windows(64, 32, grid="rolled")
    inputs = {"layout": rolled, "guide": {"preset": "balanced", "end_percent": 0.5}}
    assert torch.equal(guided(**inputs), guided({**CHEAP, "grid": "as tiled", "strength": 1.2}, **inputs))


def test_a_preset_chooses_the_gradient_and_a_user_another(guidance):
    of_preset = {name: guidance(preset=name).gradient.value for name in ("reference", "balanced", "fast")}
    assert of_preset == {
        "reference": "through the model",
        **dict.fromkeys(("balanced", "fast"), "image prior (Wiener)"),
    }
    assert guidance(preset="fast", gradient="forward only").gradient.value == "forward only"


@pytest.fixture
def said(guidance, run_node, monkeypatch, module_of):
    """said(**inputs of the guidance) -> the lines under its node."""
    lines = []
    monkeypatch.setattr(module_of("guidance"), "say", lines.append)

    def run(own_savings=False, **inputs):
        saved = {"savings": run_node("SyncDiffusionSavings")[0]} if own_savings else {}
        guidance(**inputs, **saved)
        return lines.pop().splitlines()

    return run


def test_the_guidance_says_what_the_choices_come_to(said):
    [line] = said(preset="fast", weight=20.0, end_percent=0.2)
    assert line.startswith("weight 30 from 0% to 40% of the schedule; image prior (Wiener); light decoder")
    assert line.endswith("windows rolled")
    [line] = said(weight=20.0, end_percent=0.2)
    assert line == "weight 20 from 0% to 20% of the schedule; through the model; full decoder; windows as tiled"


@pytest.mark.parametrize(
    ("inputs", "remark"),
    [
        ({"preset": "fast", "own_savings": True}, "preset: 'fast' is not used, because savings are connected"),
        ({"preset": "fast", "gradient": "through the model"}, "choose 'as the preset says'"),
        ({"prior": "from this picture (online)"}, "spectrum: not used by the gradient 'through the model'"),
    ],
)
def test_the_guidance_says_what_goes_unused_or_unmeasured(said, inputs, remark):
    _, line = said(**inputs)
    assert remark in line


@pytest.mark.parametrize("inputs", [{"preset": "balanced"}, {"gradient": "forward only"}, {"own_savings": True}])
def test_choices_that_agree_need_no_remark(said, inputs):
    assert len(said(**inputs)) == 1


@pytest.mark.parametrize(
    "savings", [{"grid": "rolled"}, {"windows_guided": ROTATING}, {"part": 0.5}, {"shrink": 2}, {"strength": 2.0}]
)
def test_each_option_changes_the_picture_and_repeats(guided, savings):
    one = guided(savings)
    assert one.isfinite().all()
    assert torch.equal(guided(savings), one)
    assert not torch.allclose(guided(), one, atol=1e-4)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "dpmpp_2m_sde", "euler_ancestral"])
def test_other_samplers_carry_the_savings(guided, sampler):
    savings = {"grid": "rolled", "second_pass": False}
    saved = guided(savings, sampler_name=sampler, steps=6)
    assert saved.isfinite().all()
    assert torch.equal(guided(savings, sampler_name=sampler, steps=6), saved)


@pytest.mark.parametrize("per_batch", [1, 2])
def test_windows_per_batch_do_not_change_the_picture(guided, per_batch):
    savings = {"grid": "rolled", "windows_guided": ROTATING, "second_pass": False}
    close(guided(savings, windows_per_batch=per_batch), guided(savings))


@pytest.mark.parametrize("wrap", [False, True])
def test_a_rolled_grid_without_guidance(panorama, models, windows, wrap):
    rolled = windows(64, 32, grid="rolled", wrap_x=wrap)
    ours = panorama(models["eps"], rolled)[0]["samples"]
    close(panorama(models["eps"], rolled, algorithm="host sampler")[0]["samples"], ours)
    assert not torch.allclose(panorama(models["eps"], windows(64, 32))[0]["samples"], ours, atol=1e-3)


@pytest.mark.parametrize("grid", ["rolled", "alternating"])
def test_a_run_in_two_parts_sees_the_windows_of_the_whole(panorama, models, windows, grid):
    layout, steps = windows(64, 32, grid=grid), {"steps": 5}
    whole = panorama(models["eps"], layout, **steps)[0]["samples"]
    first = panorama(models["eps"], layout, **steps, end_at_step=3, return_with_leftover_noise=True)[0]
    rest = panorama(models["eps"], layout, **steps, start_at_step=3, add_noise=False, latent_image=first)[0]
    close(rest["samples"], whole)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun"])
def test_apply_windows_rolls_the_grid_under_a_stock_sampler(panorama, ksampler, models, windows, run_node, sampler):
    rolled = windows(64, 32, grid="rolled")
    applied = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=rolled)[0]
    wanted = panorama(models["eps"], rolled, sampler_name=sampler, algorithm="host sampler")[0]["samples"]
    close(ksampler(applied, sampler_name=sampler), wanted)


def test_kept_cells_stay_under_savings(guided, small):
    mask = torch.zeros(1, 64, 192)
    mask[..., 96:] = 1.0
    latent = {**small.empty_latent(192, 64), "noise_mask": mask}
    latent["samples"] = torch.randn(1, 4, 8, 24, generator=torch.manual_seed(5))
    got = guided({"grid": "rolled", "second_pass": False}, latent_image=latent)
    close(got[..., :12], latent["samples"][..., :12])
    assert not torch.allclose(got[..., 12:], latent["samples"][..., 12:], atol=1e-2)


def test_an_anchor_by_index_holds_on_a_grid_that_moves(guided):
    first, last = (
        guided({"grid": "rolled"}, guide={"anchor": "window by index", "anchor_index": index}) for index in (0, -1)
    )
    assert not torch.allclose(first, last, atol=1e-3)


@pytest.mark.parametrize("savings", [{"second_pass": False}, {"grid": "rolled"}])
def test_the_reference_leaves_nothing_out(guided, savings):
    with pytest.raises(ValueError, match="leaves nothing out; choose the preset 'reference'"):
        guided(savings, algorithm="reference (Algorithm 1)")


@pytest.mark.parametrize("algorithm", ["reference (Algorithm 1)", "sequential (Blended Latent Diffusion)"])
@pytest.mark.parametrize("grid", ["rolled", "half overlapping"])
def test_the_papers_loops_need_windows_that_stay(panorama, models, windows, algorithm, grid):
    with pytest.raises(ValueError, match="choose 'as tiled' in the Window Tiler"):
        panorama(models["eps"], windows(64, 32, grid=grid), algorithm=algorithm)


@pytest.mark.parametrize(
    ("shrink", "decoder", "said"),
    [
        (3, "full decoder", "shrink: 3 leaves 21 px of the 64 px .* choose 2 at most"),
        (2, "pooled latent", "shrink: 2 leaves 16 px of the 32 px .* choose 1 at most"),
    ],
)
def test_pictures_too_small_for_the_network_are_refused(guided, shrink, decoder, said):
    with pytest.raises(ValueError, match=said):
        guided({"shrink": shrink, "decoder": decoder})


def test_steps_by_their_noise_levels(module_of):
    steps = module_of("host.run.windowed").Steps([8.0, 4.0, 2.0, 0.0])
    assert [steps.of(level) for level in (9.0, 8.0, 5.0, 4.0, 3.0, 2.0, 0.5, 0.0)] == [0, 0, 0, 1, 1, 2, 2, 2]


def test_each_step_cuts_what_is_tied_to_places_to_its_own_windows(models, windows, module_of):
    """Conditioning is cut by the windows' numbers among all of a run; see test_slices for what is cut."""
    ramp = torch.linspace(0, 1, 24).expand(1, 1, 8, 24)
    layout, tags = module_of("host.run.layout"), module_of("host.conditioning.tags")
    rolled = layout.resolve_windows(windows(64, 32, grid="rolled"), models["eps"].model, ramp.shape).latent
    for step in range(5):
        now = rolled.at(step)
        assert torch.equal(tags.cut(rolled.every, ramp, tags.Rows.grid(1, now.names)), now.project(ramp))
