"""The survey's page in a real browser, opened from a file as a participant does."""

import base64
import io
import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from PIL import Image
from scipy.stats import binomtest

from bench.survey.__main__ import main
from bench.survey.result import judge, read_all

NAMES = ("MultiDiffusion", "SyncDiffusion")
HOSTILE = "</script><img src=x onerror=alert(1)>"
QUESTION = "Which one appears a more coherent panorama image to you?"
PATIENCE_MS = 30_000

pytestmark = pytest.mark.browser


def make_page(folder, size=(768, 128), pairs=7, questions=4, vigilance=2, extra=()):
    """A page of plain pictures; the survey asks about 4 of 7 pairs and has 2 vigilance pairs."""
    for k in range(pairs):
        for arm, colour in (("a", (30 * k, 80, 40)), ("b", (40, 80, 30 * k))):
            path = folder / arm / "forest" / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, colour).save(path)
    out = folder / "survey.html"
    counts = ["--questions", str(questions), "--vigilance-pairs", str(vigilance)]
    main([str(folder / "a"), str(folder / "b"), "--out", str(out), "--names", *NAMES, *counts, *extra])
    return out


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return make_page(tmp_path_factory.mktemp("survey"))


class Participant:
    """A tab of its own with a survey's page, what it asked of the network and what it complained of."""

    def __init__(self, browser, page, number: int | None = 7, init_script: str = "", **options) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.errors, self.requests, self.dialogs = [], [], []
        if init_script:
            self.context.add_init_script(init_script)
        self.tab = self.context.new_page()
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", lambda message: self.errors.append(message.text))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("dialog", self._accept)
        self.address = page.as_uri()
        self.tab.goto(self.address + ("" if number is None else f"#{number}"))

    def _accept(self, dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.accept()

    def begin(self) -> None:
        self.tab.get_by_role("button", name="Begin").click()

    def wait_for(self, number: int) -> None:
        """Until the question of this number, counted from 1, can be answered."""
        self.tab.wait_for_function(
            "start => document.getElementById('progress').textContent.startsWith(start)"
            " && !document.getElementById('pictures').hasAttribute('aria-busy')",
            arg=f"{number} of ",
        )

    def answer(self, number: int, key: str) -> None:
        self.wait_for(number)
        self.tab.keyboard.press(key)

    def right_key(self, number: int) -> str:
        """The key that chooses b in a question."""
        return self.tab.evaluate("k => order[k].first === 'b' ? '1' : '2'", number - 1)

    def pixels(self) -> list[tuple[int, int, int]]:
        """A pixel of both pictures, the first one first, as they are decoded."""
        sources = [self.tab.locator(f"#{side}-picture").get_attribute("src") for side in ("first", "second")]
        codes = (base64.b64decode(source.partition("base64,")[2]) for source in sources)
        return [Image.open(io.BytesIO(code)).getpixel((5, 5)) for code in codes]

    def finish(self, first: int, last: int, look: Callable[[], None] = lambda: None) -> None:
        """Answers b from the first to the last question; look() is called before each answer."""
        for number in range(first, last + 1):
            self.wait_for(number)
            look()
            self.tab.keyboard.press(self.right_key(number))
        self.tab.get_by_role("heading", name="Thank you").wait_for()

    def download(self, folder):
        with self.tab.expect_download() as download:
            self.tab.get_by_role("button", name="Download the result").click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def seen(self) -> str:
        """All text that is on the screen, that of fields too."""
        return self.tab.evaluate(
            "() => document.title + document.body.innerText"
            " + [...document.querySelectorAll('textarea, [alt], [aria-label]')].map(e =>"
            " `${e.value ?? ''} ${e.alt ?? ''} ${e.ariaLabel ?? ''}`).join(' ')"
        )

    def is_quiet(self) -> bool:
        """Nothing was asked of a network and nothing complained of."""
        assert not self.errors
        outside = [url for url in self.requests if not url.startswith((self.address, "data:", "blob:"))]
        assert not outside
        return True


@pytest.fixture
def visit(browser):
    """visit(page, number=7, **options of the browser's context) -> Participant; closed after the test."""
    visitors = []

    def visit(page, number=7, **options) -> Participant:
        visitors.append(Participant(browser, page, number, **options))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.context.close()


def python_order(count: int, seed: int, participant: int) -> list[tuple[int, str]]:
    """The page's shuffle once more: (question, arm shown first) by place."""
    full = 0xFFFFFFFF
    x = ((seed + 1) * 0x9E3779B1 ^ (participant + 1) * 0x85EBCA6B) & full or 1

    def below(n: int) -> int:
        nonlocal x
        for shift in (13, -17, 5):
            x ^= (x << shift if shift > 0 else x >> -shift) & full
        return x * n >> 32

    for _ in range(16):
        below(1)
    places = [(question, "ba"[below(2) == 0]) for question in range(count)]
    for k in range(count - 1, 0, -1):
        other = below(k + 1)
        places[k], places[other] = places[other], places[k]
    return places


@pytest.fixture(scope="module")
def answered(browser, survey, tmp_path_factory):
    """One participant from the first picture to the result, by keyboard and mouse, with a reload in between."""
    someone, seen, pixels = Participant(browser, survey, 7), [], []

    def look() -> None:
        seen.append(someone.seen())
        pixels.append(someone.pixels())

    seen.append(someone.seen())
    someone.begin()
    for number, key in enumerate(("ArrowLeft", "ArrowDown", "2"), start=1):
        someone.wait_for(number)
        look()
        someone.tab.keyboard.press(key)
    someone.wait_for(4)
    someone.tab.reload()
    someone.answer(4, "Backspace")
    someone.wait_for(3)
    before = someone.tab.evaluate("() => [...document.querySelectorAll('.choice')].map(c => c.ariaPressed)")
    someone.tab.get_by_role("button", name="Choose the top picture").click()
    someone.finish(4, 6, look)
    seen.append(someone.seen())
    path = someone.download(tmp_path_factory.mktemp("results"))
    yield SimpleNamespace(
        someone=someone,
        seen=seen,
        pixels=pixels,
        before=before,
        path=path,
        result=json.loads(path.read_text(encoding="utf-8")),
        box=json.loads(someone.tab.get_by_role("textbox").input_value()),
    )
    someone.context.close()


class TestAnswering:
    """What came of it."""

    def test_keys_and_clicks_choose_what_they_show(self, answered):
        first = [answer["first"] for answer in answered.result["answers"]]
        other = ["ab"[arm == "a"] for arm in first]
        assert [answer["chosen"] for answer in answered.result["answers"]] == [
            first[0],
            other[1],
            first[2],
            "b",
            "b",
            "b",
        ]

    def test_each_side_shows_the_arm_that_the_result_says(self, answered):
        for answer, pixels in zip(answered.result["answers"], answered.pixels, strict=True):
            k = int(answer["pair"].rpartition("/")[2])
            colours = {"a": (30 * k, 80, 40), "b": (40, 80, 30 * k)}
            sides = dict(zip((answer["first"], "ba"[answer["first"] == "b"]), pixels, strict=True))
            assert sides["b"] == pytest.approx(colours["b"], abs=3)
            if not answer["vigilance"]:  # there a is a montage
                assert sides["a"] == pytest.approx(colours["a"], abs=3)

    def test_the_answer_gone_back_to_is_marked(self, answered):
        assert answered.before == ["false", "true"]

    def test_order_and_sides_are_those_of_seed_and_participant(self, answered):
        order = [(answer["question"], answer["first"]) for answer in answered.result["answers"]]
        assert order == python_order(6, 0, 7)

    def test_figures_are_scipys(self, answered):
        asked = [answer for answer in answered.result["answers"] if not answer["vigilance"]]
        preferred = sum(answer["chosen"] == "b" for answer in asked)
        assert (answered.result["preferred_b"], answered.result["pairs"]) == (preferred, 4)
        assert answered.result["p"] == pytest.approx(binomtest(preferred, 4).pvalue, rel=1e-9)

    def test_the_text_box_has_the_result_without_the_names(self, answered):
        assert answered.result == {**answered.box, "names": list(NAMES)}

    def test_the_screen_says_whose_pictures_they_are_nowhere(self, answered):
        assert QUESTION in answered.seen[1]
        assert "1 of 6" in answered.seen[1]
        for text in answered.seen:
            assert not any(word in text for word in NAMES)

    def test_the_reader_takes_the_file(self, answered):
        sheets, left_out = read_all([answered.path])
        assert not left_out
        assert sheets[0].names == NAMES
        assert sheets[0].passed == answered.result["passed"]
        assert sheets[0].preferred == answered.result["preferred_b"]

    def test_no_network_and_no_complaint(self, answered):
        assert answered.someone.is_quiet()

    def test_the_end_stays_after_a_reload_and_start_again_forgets_it(self, answered):
        tab = answered.someone.tab
        tab.reload()
        tab.get_by_role("heading", name="Thank you").wait_for()
        tab.keyboard.press("Backspace")
        assert tab.get_by_role("heading", name="Thank you").is_visible()
        tab.get_by_role("button", name="Start again").click()
        tab.get_by_role("button", name="Begin").wait_for()
        assert answered.someone.dialogs
        tab.reload()
        assert tab.get_by_role("button", name="Begin").is_visible()


def test_passing_and_failing_the_vigilance_pairs(visit, survey, tmp_path):
    paths = []
    for number in (1, 2):
        someone = visit(survey, number)
        someone.begin()
        check = someone.tab.evaluate("() => order.findIndex(({question}) => survey.questions[question].vigilance)") + 1
        for k in range(1, 7):
            someone.wait_for(k)
            right = someone.right_key(k)
            someone.tab.keyboard.press(right if number == 1 or k != check else "12"[right == "1"])
        someone.tab.get_by_role("heading", name="Thank you").wait_for()
        paths.append(someone.download(tmp_path))
        assert ("2 of 2 right: passed" if number == 1 else "1 of 2 right: not passed") in someone.seen()
    verdict = judge(*read_all(paths))
    assert (verdict.participants, verdict.preferred, verdict.answers) == (1, 4, 4)
    assert verdict.left_out == [f"{paths[1]}: left out, 1 of 2 vigilance pairs right"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for arm, colour in (("a", 90), ("b", 200)):
        path = folder / arm / f"{HOSTILE}.png"  # its slash makes two folders of it
        path.parent.mkdir(parents=True)
        Image.new("RGB", (300, 100), colour).save(path)
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps({HOSTILE: f"{HOSTILE} & <!-- <script>"}))
    return make_page(folder, (300, 100), 0, 1, 0, ["--prompts", str(prompts), "--names", HOSTILE, "B"])


class TestHostile:
    """Names and prompts that are markup."""

    def test_they_are_text(self, visit, hostile, tmp_path):
        someone = visit(hostile)
        someone.begin()
        someone.wait_for(1)
        assert f"{HOSTILE} & <!-- <script>" in someone.seen()
        assert someone.tab.locator("img").count() == 2
        assert someone.tab.locator("script").count() == 2
        someone.tab.keyboard.press("1")
        result = json.loads(someone.download(tmp_path).read_text(encoding="utf-8"))
        assert result["names"][0] == result["answers"][0]["pair"] == HOSTILE
        assert someone.is_quiet()
        assert not someone.dialogs

    def test_markup_could_neither_run_nor_load(self, visit, hostile):
        someone = visit(hostile)
        someone.tab.evaluate(
            "html => { document.body.insertAdjacentHTML('beforeend', html);"
            " const script = document.createElement('script'); script.textContent = 'window.ran = true';"
            " document.body.append(script) }",
            '<img src="http://localhost:9/x.png" onerror="window.ran = true"><style>body { color: red }</style>',
        )
        someone.tab.wait_for_function("() => document.querySelector('body > img').complete")
        colour = someone.tab.evaluate("() => getComputedStyle(document.body).color")
        assert colour != "rgb(255, 0, 0)"
        assert someone.tab.evaluate("() => window.ran") is None
        assert len(someone.errors) >= 3
        assert all("Content Security Policy" in error for error in someone.errors)


@pytest.mark.parametrize(
    ("size", "width", "layout"),
    [
        ((768, 128), 1280, "stacked"),
        ((768, 128), 1920, "beside"),
        ((768, 128), 360, "stacked"),
        ((3072, 512), 1920, "stacked"),
        ((512, 3072), 1280, "beside"),
        ((512, 3072), 360, "beside"),
    ],
)
def test_layout_fits_the_screen(visit, tmp_path, size, width, layout):
    page = make_page(tmp_path, size, questions=1, vigilance=0)
    someone = visit(page, viewport={"width": width, "height": 780})
    someone.begin()
    someone.wait_for(1)
    assert someone.tab.locator("#pictures").get_attribute("class") == layout
    boxes = [someone.tab.locator(f"#{side}-picture").bounding_box() for side in ("first", "second")]
    for box in boxes:
        assert box["width"] / box["height"] == pytest.approx(size[0] / size[1], rel=0.05)
        assert box["width"] <= size[0] + 1
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= 780
    assert boxes[0]["y" if layout == "stacked" else "x"] < boxes[1]["y" if layout == "stacked" else "x"]
    assert someone.tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    side = "Top" if layout == "stacked" else "Left"
    assert someone.tab.get_by_role("img", name=f"{side} picture").count() == 1
    someone.tab.keyboard.press("ArrowUp")
    assert someone.tab.locator("#end").is_visible() == (layout == "stacked")


class TestKeyboardAlone:
    def test_tab_reaches_everything_with_a_visible_focus(self, visit, survey):
        someone = visit(survey)
        someone.tab.keyboard.press("Tab")
        someone.tab.keyboard.press("Enter")
        someone.answer(1, "1")
        someone.wait_for(2)
        reached = []
        for _ in range(4):
            someone.tab.keyboard.press("Tab")
            reached.append(
                someone.tab.evaluate(
                    "() => [document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
                )
            )
        assert reached == [["first", "solid"], ["second", "solid"], ["back", "solid"], ["again", "solid"]]

    def test_a_key_that_is_held_answers_once(self, visit, survey):
        someone = visit(survey)
        someone.begin()
        someone.wait_for(1)
        someone.tab.keyboard.down("2")
        for number in (2, 2, 2):
            someone.wait_for(number)
            someone.tab.keyboard.down("2")  # repeats
        someone.wait_for(2)

    def test_browser_shortcuts_are_left_alone(self, visit, survey):
        someone = visit(survey)
        someone.begin()
        someone.wait_for(1)
        someone.tab.keyboard.press("Control+1")
        someone.wait_for(1)
        assert someone.tab.evaluate("() => state.answers.every(a => a === null)")


class TestWhatIsKept:
    def test_without_storage_the_page_says_so_and_works(self, visit, survey):
        refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused') } })"
        someone = visit(survey, init_script=refuse)
        assert "keeps no answers" in someone.seen()
        someone.begin()
        someone.finish(1, 6)
        assert someone.is_quiet()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "{",
            "3",
            '{"participant": 7}',
            '{"participant":7,"answers":[1,2]}',
            '{"participant":7,"begun":true,"answers":[1,2,3,4,5,null]}',
        ],
    )
    def test_what_is_damaged_is_forgotten(self, visit, survey, text):
        someone = visit(survey)
        someone.tab.evaluate("text => localStorage.setItem(storageKey(), text)", text)
        someone.tab.reload()
        someone.begin()
        someone.wait_for(1)
        assert someone.is_quiet()

    def test_participants_without_a_number_draw_one_and_keep_it(self, visit, survey):
        first, second = visit(survey, None), visit(survey, None)
        numbers = [someone.tab.evaluate("() => state.participant") for someone in (first, second)]
        assert numbers[0] != numbers[1]
        first.tab.reload()
        assert first.tab.evaluate("() => state.participant") == numbers[0]


class TestFunctions:
    """The page's own arithmetic."""

    def test_binomial_is_scipys(self, visit, survey):
        someone = visit(survey)
        cases = [(k, n) for n in (1, 2, 7, 20, 25) for k in range(n + 1)] + [(1141, 1720), (2500, 5000)]
        found = someone.tab.evaluate("cases => cases.map(([k, n]) => binomial(k, n))", cases)
        assert found == pytest.approx([binomtest(k, n).pvalue for k, n in cases], rel=1e-6)

    def test_shuffle_is_a_permutation_and_fair(self, visit, survey):
        someone = visit(survey)
        orders = someone.tab.evaluate(
            "() => [...Array(4000).keys()].map(n => shuffled(0, n).map(p => [p.question, p.first]))"
        )
        assert [[tuple(place) for place in order] for order in orders[:50]] == [
            python_order(6, 0, n) for n in range(50)
        ]
        assert all(sorted(question for question, _ in order) == list(range(6)) for order in orders)
        for place in range(6):
            sides = sum(order[place][1] == "a" for order in orders)
            assert binomtest(sides, 4000).pvalue > 1e-4
            for question in range(6):
                count = sum(order[place][0] == question for order in orders)
                assert binomtest(count, 4000, 1 / 6).pvalue > 1e-4


def test_reduced_motion_moves_nothing(visit, survey):
    moving, still = (visit(survey, reduced_motion=choice) for choice in ("no-preference", "reduce"))
    seconds = [
        someone.tab.evaluate("() => getComputedStyle(document.getElementById('begin')).transitionDuration")
        for someone in (moving, still)
    ]
    assert seconds == ["0.15s", "0s"]


def test_dark_scheme_is_dark(visit, survey):
    shades = [
        visit(survey, color_scheme=scheme).tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    light, dark = (sum(map(int, shade.removeprefix("rgb(").removesuffix(")").split(","))) for shade in shades)
    assert dark < 150 < 600 < light
