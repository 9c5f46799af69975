"""The shipped workflows, the templates, the search and the help pages in ComfyUI's own interface.

`SYNCDIFFUSION_UPDATE_GOLDEN=1 python -m pytest tests/e2e/test_browser.py -k prompt` writes tests/golden/prompts
anew, as the interface makes them of workflows/; look at the difference.
"""

import contextlib
import importlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
PATIENCE_MS = 120_000
SAMPLER = "SyncDiffusionPanoramaSampler"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def interface(browser, comfy_server):
    """One tab for all tests of this module: the interface takes some 20 s to settle."""
    running = importlib.import_module("syncdiffusion_tests_server")
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    tab = running.Page(context.new_page())
    tab.page.set_default_timeout(PATIENCE_MS)
    tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.page.goto(comfy_server.url, timeout=PATIENCE_MS)
    tab.page.wait_for_function("() => window.app?.graph && window.app.extensionManager", timeout=PATIENCE_MS)
    tab.close_dialogs()
    yield tab
    context.close()


@pytest.fixture
def tab(interface):
    """The tab, without what an earlier test left open."""
    interface.errors.clear()
    interface.close_dialogs()
    interface.close_dialogs()
    return interface


def execute(tab, command: str) -> None:
    """Runs one of the interface's commands, as its menus do."""
    tab.page.evaluate("command => { window.app.extensionManager.command.execute(command) }", command)


def running_late() -> type[Exception]:
    """Playwright's timeout; imported late, for machines without playwright."""
    return importlib.import_module("playwright.sync_api").TimeoutError


class TestWorkflow:
    """Each of them opened."""

    @pytest.mark.parametrize("name", NAMES)
    def test_opens_without_missing_nodes(self, tab, graphs, name):
        workflow = graphs.workflow(name)
        tab.load(workflow)
        nodes = tab.page.evaluate(
            "() => window.app.graph._nodes.map(n => ({type: n.type, values: n.serialize().widgets_values ?? [],"
            " known: n.type in LiteGraph.registered_node_types, size: [...n.size]}))"
        )
        assert [node["type"] for node in nodes] == [node["type"] for node in workflow["nodes"]]
        assert all(node["known"] for node in nodes)
        for node, meant in zip(nodes, workflow["nodes"], strict=True):
            assert node["values"][: len(meant["widgets_values"])] == meant["widgets_values"], node["type"]
            assert node["size"] == meant["size"], f"{node['type']} does not fit its content"
        assert not tab.errors

    @pytest.mark.parametrize("name", NAMES)
    def test_prompt_is_the_golden_one(self, tab, graphs, name):
        tab.load(graphs.workflow(name))
        made = graphs.settled(tab.prompt())
        if os.environ.get("SYNCDIFFUSION_UPDATE_GOLDEN"):
            text = json.dumps(made, indent=1, ensure_ascii=False)
            (graphs.PROMPTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        assert made == graphs.prompt(name)


def test_templates_are_listed_with_their_thumbnails(tab):
    execute(tab, "Comfy.BrowseTemplates")
    tab.page.get_by_text("ComfyUI-SyncDiffusion", exact=True).first.click()
    shown = "name => [...document.images].some(i => i.alt === name && i.naturalWidth >= 400)"
    for name in NAMES:
        tab.page.get_by_role("heading", name=name, exact=True).scroll_into_view_if_needed()  # loaded when seen
        tab.page.wait_for_function(shown, arg=name)


def test_a_click_on_a_template_opens_it(tab, graphs):
    execute(tab, "Comfy.BrowseTemplates")
    tab.page.get_by_text("ComfyUI-SyncDiffusion", exact=True).first.click()
    tab.page.get_by_text("SyncDiffusion loop panorama", exact=True).first.click()
    count = len(graphs.workflow("SyncDiffusion loop panorama")["nodes"])
    tab.page.wait_for_function(
        "count => window.app.graph._nodes.length === count"
        " && window.app.graph._nodes.some(n => n.title === 'Two turns of the loop')",
        arg=count,
    )


class Run:
    """A workflow queued from the interface, with few steps; what the interface heard and shows."""

    MESSAGES = ("executed", "progress_text", "execution_success", "execution_error", "b_preview")
    ENDS = ("execution_success", "execution_error")

    def __init__(self, tab, graphs, name: str) -> None:
        self._tab = tab
        tab.load(graphs.workflow(name))
        tab.page.evaluate(
            "values => { for (const n of window.app.graph._nodes) for (const w of n.widgets ?? []) {"
            " if (w.name in values) w.value = values[w.name];"
            " if (n.title === 'Canvas' && w.name === 'width') w.value = 256 } }",
            graphs.FEW_STEPS,
        )
        tab.page.evaluate(
            "kinds => { window.heard = []; for (const kind of kinds) window.app.api.addEventListener(kind,"
            " event => window.heard.push([kind, kind === 'b_preview' ? null : event.detail])) }",
            list(self.MESSAGES),
        )
        tab.page.get_by_test_id("queue-button").click()
        tab.page.wait_for_function(
            "ends => window.heard.some(([kind]) => ends.includes(kind))", arg=list(self.ENDS), timeout=240_000
        )
        self.heard = tab.page.evaluate("() => window.heard")

    def of(self, kind: str) -> list:
        return [detail for heard, detail in self.heard if heard == kind]

    def losses(self) -> list:
        """What samplers said under their nodes."""
        return [detail for detail in self.of("progress_text") if "differed" in detail["text"]]

    def node(self, title: str, expression: str):
        """A JavaScript expression of node n, by its title."""
        return self._tab.page.evaluate(
            f"title => {{ const n = window.app.graph._nodes.find(n => n.title === title); return {expression} }}", title
        )


@pytest.fixture(scope="module")
def run(interface, graphs):
    interface.close_dialogs()
    return Run(interface, graphs, "SyncDiffusion demo")


class TestQueued:
    """The demo workflow after a press on Run."""

    def test_finishes(self, run):
        assert not run.of("execution_error")
        assert run.of("execution_success")

    def test_shows_both_pictures(self, run):
        pictures = [detail["output"]["images"] for detail in run.of("executed") if detail["output"].get("images")]
        assert sum(image["type"] == "output" for images in pictures for image in images) == 2
        deadline = time.monotonic() + 30
        while run.node("Save Image", "n.imgs?.[0]?.naturalWidth ?? 0") != 256:
            assert time.monotonic() < deadline, "no picture in the node"
            time.sleep(0.2)

    def test_says_the_loss_under_the_guided_sampler_only(self, run):
        guided = str(run.node("SyncDiffusion (guided)", "n.id"))
        texts = run.losses()
        assert texts
        assert {str(detail["nodeId"]) for detail in texts} == {guided}
        shown = run.node("SyncDiffusion (guided)", "n.widgets.find(w => w.name === '$$node-text-preview')?.value")
        assert shown == texts[-1]["text"]

    def test_previews_while_it_runs(self, run):
        assert len(run.of("b_preview")) >= 2

    def test_shows_figures_and_trace(self, run):
        assert "intra distance" in json.dumps(run.of("executed"))
        for title in ("MultiDiffusion", "SyncDiffusion"):
            shown = run.node(f"Coherence of {title}", "n.widgets.find(w => w.name === '$$node-text-preview')?.value")
            assert "intra distance" in shown
        assert "differed" in run.node("Guided steps", "n.widgets[0].value")


@pytest.mark.parametrize(
    "name",
    [
        f"SyncDiffusion {name}"
        for name in ("SamplerCustomAdvanced", "loop panorama", "window prompts", "regional panorama")
        + ("ControlNet panorama", "outpaint", "compare", "presets", "short cuts")
    ],
)
def test_the_others_with_the_demo_model_finish_too(tab, graphs, name):
    run = Run(tab, graphs, name)
    assert not run.of("execution_error")
    assert run.losses(), "no step was guided"
    assert any(detail["output"].get("images") for detail in run.of("executed"))


@pytest.mark.parametrize("name", ["SyncDiffusion ambiguous image", "SyncDiffusion synchronised views"])
def test_views_finish_too(tab, graphs, name):
    run = Run(tab, graphs, name)
    assert not run.of("execution_error")
    assert any(detail["output"].get("images") for detail in run.of("executed"))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("visual anagrams", ["Image Views", "View Sampler", "Synchronise Views"]),
        ("tiled diffusion", ["Window Tiler", "Apply Windows"]),
        ("lpips guidance", ["Perceptual Sync Guidance"]),
        ("equirectangular", ["Camera Rig", "Sphere Views", "Equirect to Views", "Views to Equirect"]),
        ("intra-lpips", ["Panorama Coherence"]),
        ("seamless", ["Panorama Decode"]),
        ("syncdiffusion", ["SyncDiffusion Panorama Sampler", "SyncDiffusion Sampler"]),
    ],
)
def test_search_finds_nodes_by_alias(tab, words, names):
    tab.page.evaluate("() => window.app.graph.clear()")
    box = tab.page.get_by_role("combobox", name="Add a node...")
    box.wait_for(state="hidden")  # an earlier one leaves slowly
    for _ in range(5):  # on a busy machine two clicks may come too far apart
        tab.page.mouse.dblclick(400, 500)
        with contextlib.suppress(running_late()):
            box.wait_for(timeout=5000)
            break
    box.fill(words)
    for name in names:
        tab.page.get_by_test_id("result-item").get_by_text(name, exact=True).first.wait_for()


def test_help_page_opens_beside_a_node(tab, graphs):
    requests = []
    tab.page.on("response", lambda response: requests.append((response.url, response.status)))
    tab.load(graphs.workflow("SyncDiffusion demo"))
    tab.page.evaluate(
        "() => window.app.canvas.selectNode(window.app.graph._nodes.find(n => n.type === 'SyncDiffusionGuidance'))"
    )
    tab.page.get_by_test_id("info-button").click()
    page = tab.page.locator(".node-help-content").first
    page.get_by_text("end_percent").first.wait_for()
    assert page.locator("table").count() == 2
    tab.page.wait_for_function(
        "() => { const i = document.querySelector('.node-help-content img'); return i && i.naturalWidth > 100 }"
    )
    docs = [(url.split("/docs/")[1], status) for url, status in requests if "/docs/" in url]
    assert ("SyncDiffusionGuidance.md", 200) in docs


def test_every_help_page_and_picture_is_served(comfy_server):
    """At the address that the interface asks for it."""
    from urllib.request import urlopen

    for page in sorted((ROOT / "web" / "docs").rglob("*.*")):
        address = f"{comfy_server.url}/extensions/ComfyUI-SyncDiffusion/docs/"
        with urlopen(address + page.relative_to(ROOT / "web" / "docs").as_posix(), timeout=30) as answer:
            assert "text/html" not in answer.headers["Content-Type"]
            assert answer.read() == page.read_bytes()


SIDES = {"front": (255, 0, 0), "right": (0, 255, 0), "back": (0, 0, 255), "left": (255, 255, 0)}
UP, DOWN = (255, 255, 255), (0, 0, 0)
MIDDLE = """() => {
  const shown = document.querySelector(".syncdiffusion-panorama canvas"), copy = document.createElement("canvas");
  [copy.width, copy.height] = [shown.width, shown.height];
  const context = copy.getContext("2d");
  context.drawImage(shown, 0, 0);
  return [...context.getImageData(copy.width >> 1, copy.height >> 1, 1, 1).data.slice(0, 3)];
}"""


def drawn_around(height: int) -> np.ndarray:
    """Four sides, a white top and a black bottom: [height, 512, 3]."""
    pixels = np.zeros((height, 512, 3), np.uint8)
    for quarter, colour in enumerate(SIDES.values()):
        pixels[:, (np.arange(512) + 64 - 256) // 128 % 4 == quarter] = colour
    band = height // 6
    pixels[:band], pixels[-band:] = UP, DOWN
    return pixels


@pytest.fixture(params=["classic nodes", "Vue nodes"])
def viewer(request, tab, comfy_server):
    """viewer(height, shape) -> that of Preview Panorama, in the middle of six colours."""
    vue = request.param == "Vue nodes"
    tab.page.evaluate("vue => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)", vue)

    def stand_inside(height: int, shape: str) -> object:
        Image.fromarray(drawn_around(height)).save(comfy_server.output.parent / "input" / "around.png")
        tab.page.evaluate(
            """async shape => {
              await window.app.refreshComboInNodes();
              const { graph } = window.app, load = LiteGraph.createNode("LoadImage");
              graph.clear();
              await new Promise(done => setTimeout(done, 500));  // Vue nodes of the same number would stay
              graph.add(load);
              load.pos = [-300, 100];
              load.widgets.find(w => w.name === "image").value = "around.png";
              const show = LiteGraph.createNode("SyncDiffusionPreviewPanorama");
              show.pos = [200, 100];
              graph.add(show);
              show.widgets.find(w => w.name === "shape").value = shape;
              load.connect(0, show, 0);
              [window.app.canvas.ds.scale, window.app.canvas.ds.offset] = [1, [400, 100]];
              window.app.canvas.setDirty(true, true);
            }""",
            shape,
        )
        tab.page.get_by_test_id("queue-button").click()
        element = tab.page.locator(".syncdiffusion-panorama")
        element.wait_for()
        tab.page.wait_for_function(f"colour => ({MIDDLE})().join() === colour", arg=",".join(map(str, SIDES["front"])))
        element.focus()
        return element

    yield stand_inside
    tab.page.evaluate("() => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
    assert not tab.errors


def middle(tab) -> tuple[int, ...]:
    """The colour in the middle of the view."""
    return tuple(tab.page.evaluate(MIDDLE))


def press(tab, key: str, times: int) -> tuple[int, ...]:
    """The colour in the middle after an arrow key has been pressed so often, 15 degrees each."""
    for _ in range(times):
        tab.page.keyboard.press(key)
    return middle(tab)


def test_a_panorama_is_seen_from_inside(tab, viewer):
    """Four directions and both poles by the arrow keys; the mouse turns it, and not the graph."""
    element = viewer(256, "360 x 180 degrees")
    assert [press(tab, "ArrowRight", 6) for _ in SIDES] == [*list(SIDES.values())[1:], SIDES["front"]]
    for key, times, colour in (("ArrowUp", 7, UP), ("ArrowDown", 14, DOWN), ("ArrowUp", 6, SIDES["front"])):
        assert press(tab, key, times) == colour
    before = tab.page.evaluate("() => [...window.app.canvas.ds.offset, window.app.canvas.ds.scale]")
    box = element.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x - box["height"] * 90 / 80, y, steps=8)
    tab.page.mouse.up()
    assert middle(tab) == SIDES["right"]
    tab.page.mouse.move(x, y)
    tab.page.mouse.wheel(0, -400)
    assert middle(tab) == SIDES["right"]
    assert tab.page.evaluate("() => [...window.app.canvas.ds.offset, window.app.canvas.ds.scale]") == before


def test_a_loop_is_seen_from_inside(tab, viewer):
    """A strip of 4:1 around a cylinder: it ends 38 degrees above and below the horizon."""
    viewer(128, "loop")
    assert [press(tab, "ArrowRight", 6) for _ in SIDES] == [*list(SIDES.values())[1:], SIDES["front"]]
    assert press(tab, "ArrowUp", 2) == UP
    assert press(tab, "ArrowUp", 1) not in (UP, *SIDES.values())
    assert press(tab, "ArrowDown", 5) == DOWN
