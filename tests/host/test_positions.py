"""Windows at their true positions: against the host called on each window alone with its rotary positions moved."""

import pytest
import torch

READ = {"Flux": 2, "Flux.2": 1, "Lumina2": 2, "Z-Image": 2, "Wan": 2, "PixelDiT": 16}
"""Families whose networks can be told where a window stands, and their patch in latent cells."""
HERE = "place on the canvas"


def shift_of(bench, left_px):
    """The host's rope_options of a window that starts there: in patches, of PixelDiT in its span of 16."""
    patches = left_px / bench.family.cell_px / bench.family.patch
    unit = 16 / (64 / 16 - 1) if bench.family.name == "PixelDiT" else 1
    return {"shift_x": patches * unit, "shift_y": 0.0}


def noise_of(bench):
    return torch.randn(bench.family.latent(192, 64)["samples"].shape, generator=torch.manual_seed(3))


def alone(bench, left_px, rope_options):
    """The stock sampler on the noise of one window, wrapped around the canvas's end."""
    cell, noise = bench.family.cell_px, noise_of(bench)
    columns = [(left_px // cell + k) % noise.shape[-1] for k in range(64 // cell)]
    model = bench.model.clone()
    model.model_options["transformer_options"]["rope_options"] = rope_options
    return bench.stock_from(noise[..., columns].clone(), model=model)


def agree(one, other):
    assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize("how", ["sampler", "apply windows"])
@pytest.mark.parametrize("name", READ)
def test_a_window_is_told_its_place(name, how, of, windows, run_node):
    bench = of(name)
    layout = windows(64, 64, positions=HERE)
    if how == "sampler":
        panorama = bench.samples(layout)
    else:
        panorama = bench.stock(run_node("SyncDiffusionApplyWindows", model=bench.model, windows=layout)[0])
    parts = panorama.split(64 // bench.family.cell_px, dim=-1)
    for index, part in enumerate(parts):
        agree(part, alone(bench, 64 * index, shift_of(bench, 64 * index)))
    # Wan's attention sees nothing but patches, so that only their distances count.
    assert torch.allclose(parts[1], alone(bench, 64, {}), atol=1e-4) == (name == "Wan")


def test_positions_run_on_past_the_edge(of, windows):
    """The last window of a loop, first step: its patches are counted on, not from 0 again."""
    bench, seen = of("Flux"), []
    bench.model = bench.model.clone()
    bench.model.set_model_unet_function_wrapper(
        lambda apply, args: (
            seen.append(args["c"]["transformer_options"].get("rope_options"))
            or apply(args["input"], args["timestep"], **args["c"])
        )
    )
    bench.samples(windows(64, 48, wrap_x=True, positions=HERE), steps=1)
    assert [options["shift_x"] for options in seen] == [0, 3, 6, 9]
    assert all(options["shift_y"] == 0 for options in seen)


def test_the_scale_and_shift_of_a_user_count_at_the_place(of, windows, run_node):
    """The host's ScaleROPE: windows stand where a canvas with those positions has them."""
    bench = of("Lumina2")
    own = {"scale_x": 0.5, "shift_x": 2.0, "scale_y": 1.0, "shift_y": 1.0, "scale_t": 1.0, "shift_t": 0.0}
    model = bench.model.clone()
    model.set_model_rope_options(**own)
    scaled = of("Lumina2")
    scaled.model = model
    last = scaled.samples(windows(64, 64, positions=HERE)).split(8, dim=-1)[2]
    agree(last, alone(bench, 128, {**own, "shift_x": 2.0 + 0.5 * 8}))


def test_one_window_stands_where_it_did(of, windows):
    bench = of("Wan")
    agree(bench.samples(windows(192, 64, positions=HERE)), bench.stock())


def test_guidance_sees_windows_at_their_place(of, windows):
    bench = of("Wan")
    layout = windows(64, 64, positions=HERE)
    plain = bench.run(layout)[0]
    guided, _ = bench.run(layout, guidance=bench.guidance())
    assert bench.intra(guided) < 0.95 * bench.intra(plain)


@pytest.mark.parametrize("name", ["SDXL", "SD3", "Qwen-Image", "HiDream-O1"])
def test_a_model_that_cannot_be_told_is_refused(name, of, windows, run_node):
    bench = of(name)
    layout = windows(64, 64, positions=HERE)
    with pytest.raises(ValueError, match="positions: .* cannot be told where a window stands, as Flux, .*Window Tiler"):
        bench.run(layout)
    with pytest.raises(ValueError, match="positions: "):
        bench.stock(run_node("SyncDiffusionApplyWindows", model=bench.model, windows=layout)[0])
