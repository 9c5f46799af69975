"""Cases of each node: its widgets from its schema, its links as sockets.py has them, graphs that go through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from comfy_api.latest import io
from hypothesis import strategies as st

from bench.campaign import sockets
from bench.campaign.cases import Call, Case, Thing
from bench.campaign.models import FAMILIES
from bench.campaign.packs import FOREIGN, around
from bench.campaign.widgets import inputs_of, is_widget, widget
from syncdiffusion_core.canvases.window_layout import Positions

TILER, GUIDANCE = "SyncDiffusionWindowTiler", "SyncDiffusionGuidance"
PANORAMA, SAMPLER = "SyncDiffusionPanoramaSampler", "SyncDiffusionSampler"
APPLY, MERGE = "SyncDiffusionApplyWindows", "SyncDiffusionMergeAttention"
SAVINGS, SPECTRUM = "SyncDiffusionSavings", "SyncDiffusionLatentSpectrum"
LOADER, DEMO = "SyncDiffusionLoadPerceptualModel", "SyncDiffusionLoadDemoModel"
COHERENCE, COMPARE = "SyncDiffusionCoherence", "SyncDiffusionCompare"
REGION, LINES, DECODE = "SyncDiffusionRegionPrompts", "SyncDiffusionWindowPrompts", "SyncDiffusionPanoramaDecode"
WINDOWS_PX = (64, 64, 32, 48, 96, 40)
STRIDES_PX = (32, 64, 16, 24, 40)
COMPATIBLE: Mapping[tuple[str, str], tuple] = {
    (PANORAMA, "algorithm"): ("automatic", "host sampler"),
    (SAMPLER, "algorithm"): ("automatic", "host sampler"),
    (PANORAMA, "start_at_step"): (0, 1),
    (PANORAMA, "end_at_step"): (10000, 2),
    (GUIDANCE, "anchor"): ("centre window", "mean of all windows"),
    (GUIDANCE, "start_percent"): (0.0,),
    (SAVINGS, "shrink"): (1, 2),
    (SPECTRUM, "name"): ("", "kept"),
    (REGION, "width"): (512, 256),
    (REGION, "height"): (512, 300),
}
"""Values that most others of the same node allow."""
Socket = Callable[[st.DrawFn, str], object]
"""(draw, family of the case's model) -> what is connected."""


@st.composite
def calls(draw: st.DrawFn, node: str, family: str, **given: object) -> Call:
    """A node with inputs for a model of that family. given: inputs that are settled."""
    inputs: dict[str, object] = {}
    for each in inputs_of(node):
        if each.id in given:
            inputs[each.id] = given[each.id]
        elif each.optional and not is_widget(each) and draw(st.integers(1, 3)) > 1:
            continue
        else:
            inputs[each.id] = _typed(draw, node, each) if is_widget(each) else SOCKETS[each.io_type](draw, family)
    return Call(node, inputs)


def _typed(draw: st.DrawFn, node: str, given: io.Input) -> object:
    """A widget's value: three times in four one that others go with, where most of its range is refused otherwise."""
    if (node, given.id) not in COMPATIBLE:
        return draw(widget(given))
    return sockets.usually(draw, st.sampled_from(COMPATIBLE[node, given.id]), widget(given), 4)


@st.composite
def tilers(draw: st.DrawFn, family: str) -> Call:
    """WINDOWS that fit a small canvas, most of the time."""
    pixels = st.sampled_from(WINDOWS_PX)
    width, height = draw(pixels), sockets.usually(draw, st.just(64), pixels, 4)
    stride = min(draw(st.sampled_from(STRIDES_PX)), width)
    small = {"window_width": width, "window_height": height, "stride_x": stride, "stride_y": min(stride, height)}
    small["positions"] = sockets.usually(draw, st.just(Positions.WINDOW.value), st.just(Positions.CANVAS.value))
    whole = sockets.usually(draw, st.just(small), st.just({}), 24)
    return draw(calls(TILER, family, **whole))


@st.composite
def models(draw: st.DrawFn, family: str) -> Thing | Call:
    """A model, now and then with merged attention, or a patch of another pack where one is loaded."""
    model = Thing("MODEL", {"name": family})
    merged = st.builds(lambda end: Call(MERGE, {"model": model, "end_percent": end}), st.sampled_from((0.5, 1.0, 0.0)))
    made = sockets.usually(draw, st.just(model), merged, 10)
    return _foreign(draw, "MODEL", made)


@st.composite
def host_samplers(draw: st.DrawFn) -> Call:
    """A SAMPLER of the host, or of another pack where one is loaded."""
    names = st.sampled_from(("euler", "ddim", "dpmpp_2m", "euler_ancestral", "heun", "lcm", "dpmpp_sde", "uni_pc"))
    return _foreign(draw, "SAMPLER", Call("KSamplerSelect", {"sampler_name": draw(names)}))


def _foreign(draw: st.DrawFn, kind: str, made: Thing | Call) -> Thing | Call:
    """Every other time a node of another pack around it."""
    if not FOREIGN[kind] or draw(st.booleans()):
        return made
    return around(draw(st.sampled_from(FOREIGN[kind])), kind, made)


def _thing(kind: str, **settings: object) -> Socket:
    return lambda draw, family: Thing(kind, settings)


def _perceptual(draw: st.DrawFn, family: str) -> Thing | Call:
    names = ("scene (built in)", "scene style (built in)")
    loaded = st.builds(lambda name: Call(LOADER, {"perceptual_name": name}), st.sampled_from(names))
    return sockets.usually(draw, st.just(Thing("PERCEPTUAL", {})), loaded, 10)


def _spectrum(draw: st.DrawFn, family: str) -> Thing:
    channels = sockets.usually(draw, st.just(FAMILIES[family].channels), st.sampled_from((1, 3, 7)))
    return Thing("SPECTRUM", {"channels": channels})


SOCKETS: dict[str, Socket] = {
    "MODEL": lambda draw, family: draw(models(family)),
    "CLIP": _thing("CLIP"),
    "VAE": lambda draw, family: draw(sockets.vaes(FAMILIES[family].vae)),
    "CONDITIONING": lambda draw, family: draw(sockets.conditionings()),
    "LATENT": lambda draw, family: draw(sockets.latents(FAMILIES[family])),
    "IMAGE": lambda draw, family: draw(sockets.images()),
    "MASK": lambda draw, family: draw(sockets.masks()),
    "BOUNDING_BOX": lambda draw, family: draw(sockets.boxes()),
    "SAMPLER": lambda draw, family: draw(host_samplers()),
    "SYNCDIFFUSION_VIEWS": lambda draw, family: draw(tilers(family)),
    "SYNCDIFFUSION_GUIDANCE": lambda draw, family: draw(calls(GUIDANCE, family)),
    "SYNCDIFFUSION_PERCEPTUAL": _perceptual,
    "SYNCDIFFUSION_SAVINGS": lambda draw, family: draw(calls(SAVINGS, family)),
    "SYNCDIFFUSION_SPECTRUM": _spectrum,
}


INPUT_OF = {"IMAGE": "images", "MODEL": "model", "VAE": "vae", "MASK": "mask", "BOUNDING_BOX": "bboxes"}
"""Names of optional inputs that matter."""


def cases(node: str) -> st.SearchStrategy[Case]:
    """All cases of a node of the pack."""
    return _cases(node, GRAPHS.get(node, lambda call, family, draw: call))


@st.composite
def _cases(draw: st.DrawFn, node: str, around: Callable[[Call, str, st.DrawFn], Call]) -> Case:
    family = draw(sockets.families())
    made = (
        tilers(family) if node == TILER and draw(st.booleans()) else calls(node, family, **draw(_fitting(node, family)))
    )
    return Case(node, around(draw(made), family, draw))


@st.composite
def _fitting(draw: st.DrawFn, node: str, family: str) -> dict[str, object]:
    """Inputs without which a node refuses everything, given most of the time."""
    if not draw(st.integers(1, 6)) < 6:
        return {}
    fits = {"window_size": draw(st.sampled_from((32, 40, 64)))} if node in (SPECTRUM, COHERENCE, COMPARE) else {}
    connected = {SPECTRUM: ("IMAGE", "MODEL", "VAE"), REGION: draw(st.sampled_from((("MASK",), ("BOUNDING_BOX",))))}
    return {**fits, **{INPUT_OF[kind]: SOCKETS[kind](draw, family) for kind in connected.get(node, ())}}


def _ksampler(model: Call, family: str, draw: st.DrawFn) -> Call:
    """The host's KSampler on a patched model."""
    inputs = {
        "model": model,
        "seed": 3,
        "steps": draw(st.integers(1, 3)),
        "cfg": draw(st.sampled_from((4.0, 1.0, 0.0))),
        "sampler_name": draw(st.sampled_from(("euler", "ddim", "dpmpp_2m", "euler_cfg_pp", "uni_pc", "dpm_adaptive"))),
        "scheduler": draw(st.sampled_from(("normal", "simple", "karras", "ddim_uniform"))),
        "positive": draw(sockets.conditionings()),
        "negative": draw(sockets.conditionings()),
        "latent_image": draw(sockets.latents(FAMILIES[family], whole=True)),
        "denoise": draw(st.sampled_from((1.0, 0.5))),
    }
    return Call("KSampler", inputs)


def _custom(sampler: Call, family: str, draw: st.DrawFn) -> Call:
    """SamplerCustomAdvanced with our sampler, under a guider of the host."""
    model = draw(models(family))
    prompts = {"positive": draw(sockets.conditionings()), "negative": draw(sockets.conditionings()), "cfg": 4.0}
    basic = Call("BasicGuider", {"model": model, "conditioning": prompts["positive"]})
    guider = sockets.usually(draw, st.just(Call("CFGGuider", {"model": model, **prompts})), st.just(basic), 4)
    schedule = {"scheduler": draw(st.sampled_from(("normal", "simple", "ddim_uniform", "beta")))}
    schedule |= {"steps": draw(st.integers(1, 3)), "denoise": draw(st.sampled_from((1.0, 0.5)))}
    noise = sockets.usually(draw, st.just(Call("RandomNoise", {"noise_seed": 3})), st.just(Call("DisableNoise", {})))
    inputs = {
        "noise": noise,
        "guider": guider,
        "sampler": sampler,
        "sigmas": Call("BasicScheduler", {"model": model, **schedule}),
        "latent_image": draw(sockets.latents(FAMILIES[family], whole=True)),
    }
    return Call("SamplerCustomAdvanced", inputs)


def _merged(model: Call, family: str, draw: st.DrawFn) -> Call:
    """Merged attention needs windows to be seen."""
    applied = Call(APPLY, {"model": model, "windows": draw(tilers(family)), "windows_per_batch": 0})
    return _ksampler(applied, family, draw)


GRAPHS: Mapping[str, Callable[[Call, str, st.DrawFn], Call]] = {APPLY: _ksampler, SAMPLER: _custom, MERGE: _merged}
"""What follows a node whose own output says nothing yet."""
SHARES: Mapping[str, int] = {
    TILER: 10,
    LINES: 8,
    REGION: 14,
    GUIDANCE: 10,
    SAVINGS: 4,
    PANORAMA: 18,
    SAMPLER: 7,
    APPLY: 6,
    MERGE: 3,
    DECODE: 7,
    LOADER: 1,
    SPECTRUM: 5,
    COHERENCE: 4,
    COMPARE: 3,
}
"""Cases of each node, in percent. The demo model's loader takes no input: its run is the demo's (bench/demo)."""
