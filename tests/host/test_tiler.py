"""The Window Tiler in the host: what it refuses before a run, and what it says under itself."""

import pytest
from heard import said

NODE = "SyncDiffusionWindowTiler"
FITS = {
    "window_width": 512,
    "window_height": 512,
    "stride_x": 128,
    "stride_y": 128,
    "wrap_x": False,
    "wrap_y": False,
    "blend": "feathered",
}


@pytest.fixture
def failure(host) -> type[Exception]:
    """GraphFailed of the harness that runs this host."""
    return type(host).validate.__globals__["GraphFailed"]


def graph(**inputs) -> dict:
    return {
        "tiler": {"class_type": NODE, "inputs": {**FITS, **inputs}},
        "shown": {"class_type": "PreviewImage", "inputs": {"images": ["tiler", 1]}},
    }


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"stride_x": 520}, ["stride_x", "between 1 px and", "512", "got 520", "gaps"]),
        ({"stride_y": 1024}, ["stride_y", "512", "got 1024"]),
        ({"window_height": 64}, ["stride_y", "64", "got 128"]),
        ({"window_width": 96, "window_height": 96}, ["stride_x", "96", "got 128"]),
        ({"window_width": 0}, ["window_width", "between 8 and 16384", "got 0"]),
        ({"stride_y": -8}, ["stride_y", "between 8 and 16384", "got -8"]),
        ({"window_height": 16392, "stride_y": 512}, ["window_height", "16384", "got 16392"]),
    ],
)
def test_sizes_without_sense_are_refused_before_the_run(host, pack, failure, inputs, words):
    with pytest.raises(failure) as error:
        host.validate(graph(**inputs))
    reasons = [reason["details"] for reason in error.value.errors["tiler"]["errors"]]
    assert any(all(word in reason for word in words) for reason in reasons), reasons


def test_sizes_that_fit_are_let_through(host, pack):
    assert host.validate(graph()) == ["shown"]
    assert host.validate(graph(stride_x=512, stride_y=8)) == ["shown"]


def test_a_size_that_another_node_makes_waits_for_the_run(host, pack, failure):
    size = {"class_type": "PrimitiveInt", "inputs": {"value": 64}}
    linked = {**graph(window_width=["size", 0]), "size": size}
    assert host.validate(linked) == ["shown"]
    with pytest.raises(failure, match="stride_x must be between 1 px and the window's 64 px, got 128"):
        host.run_graph(linked)


def test_a_word_for_a_number_is_the_hosts_to_refuse(host, pack, failure):
    with pytest.raises(failure) as error:
        host.validate(graph(stride_x="wide"))
    assert [reason["type"] for reason in error.value.errors["tiler"]["errors"]] == ["invalid_input_type"]


def test_one_window_is_told(host, run_node, small):
    """The defaults of this node and of Empty Latent Image together."""
    run_node(NODE, latent=small.empty_latent(512, 512))
    assert "one window covers the whole canvas of 512 x 512 px" in said(host)


@pytest.mark.parametrize(("axis", "width", "height"), [("x", 384, 128), ("y", 128, 384)])
@pytest.mark.parametrize("grid", ["as tiled", "half overlapping"])
def test_a_wrap_that_no_window_crosses_is_told(host, run_node, small, axis, width, height, grid):
    layout = {"window_width": 128, "window_height": 128, "stride_x": 128, "stride_y": 128, f"wrap_{axis}": True}
    run_node(NODE, **layout, grid=grid, latent=small.empty_latent(width, height))
    assert f"wrap_{axis}: no window runs over" in said(host)
    assert f"windows only touch at {axis} = 128, 256 px" in said(host)


def test_nothing_is_said_where_windows_overlap(host, run_node, small):
    run_node(NODE, latent=small.empty_latent(2048, 512))
    assert said(host) == ""


def test_nothing_is_said_without_a_canvas(host, run_node):
    run_node(NODE, stride_x=512)
    assert said(host) == ""


# Where a model is known.


@pytest.fixture
def layout_module(module_of):
    return module_of("host.run.layout")


def tiled(run_node, side: int, **inputs):
    sizes = {"window_width": side, "window_height": side, "stride_x": side // 2, "stride_y": side // 2}
    return run_node(NODE, **{**sizes, **inputs})[0]


@pytest.mark.parametrize(
    ("name", "kind", "own"),
    [
        ("SD15", "EPS", 512),
        ("SD20", "EPS", 512),
        ("SD20", "V_PREDICTION", 768),
        ("SDXL", "EPS", 1024),
        ("SSD1B", "EPS", 1024),
        ("SD3", "FLOW", 1024),
        ("FluxSchnell", "FLUX", 1024),
        ("QwenImage", "FLUX", 1024),
        ("SD_X4Upscaler", "V_PREDICTION", None),
        ("WAN21_T2V", "FLOW", None),
    ],
)
def test_sizes_that_models_were_made_for(layout_module, run_node, name, kind, own):
    import comfy.model_base
    import comfy.supported_models

    class Model:
        model_config = object.__new__(getattr(comfy.supported_models, name))
        model_type = comfy.model_base.ModelType[kind]
        latent_format = comfy.supported_models.SD15.latent_format()

    assert layout_module.own_size(Model) == own
    for side in (256, 512, 768, 1024, 1536, 2048):
        remark = layout_module.size_remark(tiled(run_node, side), Model)
        far = own is not None and not own / 1.5 < side < own * 1.5
        assert (remark is not None) == far
        if far:
            assert f"windows of {side} x {side} px" in remark
            assert f"about {own} x {own} px" in remark


def test_windows_of_another_shape_count_by_their_area(layout_module, run_node):
    import comfy.model_base
    import comfy.supported_models

    class Model:
        model_config = object.__new__(comfy.supported_models.SDXL)
        model_type = comfy.model_base.ModelType.EPS
        latent_format = comfy.supported_models.SDXL.latent_format()

    wide = tiled(run_node, 1024, window_width=1344, window_height=768, stride_y=384)
    assert layout_module.size_remark(wide, Model) is None
    flat = tiled(run_node, 1024, window_height=256, stride_y=256)
    assert "windows of 1024 x 256 px" in layout_module.size_remark(flat, Model)


def test_a_model_may_tell_its_own_size(layout_module, run_node, models):
    """As the demo model does: windows of 512 px show it what it has never seen."""
    model = models["eps"].model
    assert layout_module.own_size(model) is None

    class Told:
        model_config, model_type = model.model_config, model.model_type
        latent_format = type(model.latent_format)()

    Told.latent_format.native_px = 128
    assert "about 128 x 128 px" in layout_module.size_remark(tiled(run_node, 512), Told)
    assert layout_module.size_remark(tiled(run_node, 128), Told) is None
    assert layout_module.size_remark(tiled(run_node, 64), Told) is not None


def test_all_remarks_of_a_run(layout_module, run_node, models, small):
    model = models["eps"].model
    whole = tiled(run_node, 64)
    grid = layout_module.resolve_windows(whole, model, (1, 4, 8, 8)).latent
    (line,) = layout_module.layout_remarks(whole, grid.every, model)
    assert "one window covers the whole canvas of 64 x 64 px" in line
    open_ = tiled(run_node, 64, stride_x=64, wrap_x=True)
    grid = layout_module.resolve_windows(open_, model, (1, 4, 8, 24)).latent
    with pytest.raises(ValueError, match="wrap_x: no window runs over the right edge of a canvas of 192 px"):
        layout_module.layout_remarks(open_, grid.every, model)


@pytest.mark.parametrize("blend", ["uniform", "gaussian", "feathered"])
def test_the_coverage_counts_windows_whatever_their_blend(run_node, small, blend):
    layout = {"window_width": 128, "window_height": 128, "stride_x": 64, "stride_y": 128}
    picture = run_node(NODE, **layout, blend=blend, latent=small.empty_latent(256, 128))[1]
    assert picture[0, 0, :, 0].tolist() == [0.5] * 8 + [1.0] * 16 + [0.5] * 8
