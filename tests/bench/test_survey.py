"""The survey: which pictures it asks about, what is left out and said, that its page is inert, what results say."""

import base64
import hashlib
import html.parser
import io
import json
import math
import re
from random import Random

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.stats import beta, binom

from bench.survey.__main__ import main
from bench.survey.page import embedded, page
from bench.survey.pictures import Pairs, Refused, find_pictures, read_picture
from bench.survey.questions import Question, draw, prompt_of, read_prompts, survey_id
from bench.survey.result import judge, read_all
from bench.survey.result import main as result_main
from bench.survey.sheet import read_sheet
from bench.survey.vigilance import from_folder, from_panoramas, montage

SIZE = (96, 32)
HOSTILE = "</script><img src=x onerror=alert(1)><!--"


def plain(colour, size=SIZE) -> Image.Image:
    return Image.new("RGB", size, colour)


def save(picture: Image.Image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


@pytest.fixture
def folders(tmp_path):
    """Six pairs: of seed k, a is red 10 + k and b is green 10 + k."""
    for k in range(6):
        save(plain((10 + k, 0, 0)), tmp_path / "a" / "forest" / f"{k}.png")
        save(plain((0, 10 + k, 0)), tmp_path / "b" / "forest" / f"{k}.png")
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def said():
    return []


def drawn(pairs, said, count=4, vigilance=2, seed=0, prompts=None) -> list[Question]:
    return draw(pairs, count, vigilance, from_panoramas(pairs), Random(seed), said.append, prompts or {})


class TestPairing:
    def test_by_path_below_the_folder_without_suffix(self, tmp_path, said):
        for arm, suffix in (("a", ".png"), ("b", ".JPEG")):
            for name in ("12", "forest/12", "v1.5/x.y"):
                save(plain((0, 0, ord(arm))), tmp_path / arm / f"{name}{suffix}")
        (tmp_path / "a" / "notes.txt").write_text("no picture")
        assert Pairs(tmp_path / "a", tmp_path / "b", said.append).names == ["12", "forest/12", "v1.5/x.y"]
        assert not said

    def test_a_missing_one_is_named(self, folders, said):
        missing = folders[1] / "forest" / "3.png"
        missing.unlink()
        assert "forest/3" not in Pairs(*folders, said.append).names
        assert said == [f"{folders[0] / 'forest' / '3.png'}: left out, {folders[1]} has no picture of this name"]

    def test_two_files_of_one_name_are_named(self, folders, said):
        twin = save(plain((1, 1, 1)), folders[0] / "forest" / "3.webp")
        assert "forest/3" not in Pairs(*folders, said.append).names
        assert str(twin) in said[0]

    @pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
    def test_a_corrupt_one_is_named_once_and_left_out(self, folders, said, content):
        (folders[1] / "forest" / "3.png").write_bytes(content)
        pairs = Pairs(*folders, said.append)
        assert pairs.read("forest/3") is None
        assert pairs.read("forest/3") is None
        assert len(said) == 1
        assert str(folders[1] / "forest" / "3.png") in said[0]
        assert {question.pair for question in drawn(pairs, said, 6)} == {f"forest/{k}" for k in (0, 1, 2, 4, 5)}

    def test_every_cut_of_a_file_is_refused_or_read(self, tmp_path):
        picture = Image.effect_noise((40, 20), 60).convert("RGB")
        for suffix in ("png", "jpg", "webp"):
            whole = save(picture, tmp_path / f"whole.{suffix}").read_bytes()
            cut = tmp_path / f"cut.{suffix}"
            for length in range(0, len(whole) - 20, 7):
                cut.write_bytes(whole[:length])
                with pytest.raises(Refused, match="cut"):
                    read_picture(cut)

    def test_another_size_is_named(self, folders, said):
        save(plain((0, 13, 0), (96, 31)), folders[1] / "forest" / "3.png")
        assert Pairs(*folders, said.append).read("forest/3") is None
        assert "96x32 against 96x31" in said[0]

    def test_the_same_picture_twice_is_no_question(self, folders, said):
        save(plain((13, 0, 0)), folders[1] / "forest" / "3.png")
        assert Pairs(*folders, said.append).read("forest/3") is None
        assert "same picture" in said[0]

    def test_sixteen_bits_are_refused_rather_than_clipped(self, tmp_path):
        path = tmp_path / "deep.png"
        Image.new("I;16", SIZE, 40000).save(path)
        with pytest.raises(Refused, match="8 bits"):
            read_picture(path)

    def test_an_empty_folder_and_no_folder_are_refused(self, tmp_path, folders, said):
        (tmp_path / "empty").mkdir()
        with pytest.raises(Refused, match="has no picture"):
            Pairs(folders[0], tmp_path / "empty", said.append)
        with pytest.raises(Refused, match="is not a folder"):
            find_pictures(tmp_path / "nowhere", said.append)

    def test_folders_that_share_nothing_are_refused(self, tmp_path, folders, said):
        save(plain((1, 1, 1)), tmp_path / "c" / "other.png")
        with pytest.raises(Refused, match="share no picture"):
            Pairs(folders[0], tmp_path / "c", said.append)


class TestVigilance:
    def test_montage_is_filled_in_order_and_cut_off(self):
        parts = [plain((k, 0, 0), (40, 32)) for k in (1, 2, 3)]
        row = montage(SIZE, parts)
        assert row.size == SIZE
        assert [row.getpixel((x, 5))[0] for x in (0, 39, 40, 79, 80, 95)] == [1, 1, 2, 2, 3, 3]

    def test_montage_of_a_tall_panorama_is_a_column_of_scaled_parts(self):
        column = montage((32, 96), [plain((k, 0, 0), (64, 64)) for k in (1, 2, 3)])
        assert [column.getpixel((5, y))[0] for y in (0, 31, 32, 63, 64, 95)] == [1, 1, 2, 2, 3, 3]

    @pytest.mark.parametrize("parts", [[], [(32, 32), (32, 32)], [(96, 32)]])
    def test_too_few_parts_are_refused(self, parts):
        with pytest.raises(Refused, match="--vigilance FOLDER"):
            montage(SIZE, [plain(0, size) for size in parts])

    def test_windows_come_from_different_other_panoramas(self, folders, said):
        pairs = Pairs(*folders, said.append)
        shown = pairs.read("forest/0")
        for seed in range(20):
            row = montage(SIZE, from_panoramas(pairs)(shown, Random(seed)))
            seeds = [max(row.getpixel((x, 0))) - 10 for x in (0, 32, 64)]
            assert len(set(seeds)) == 3
            assert 0 not in seeds

    def test_the_kth_window_is_the_kth_of_its_panorama(self, tmp_path, said):
        for k in range(4):
            stripes = plain(0)
            for x in range(96):
                stripes.paste((k, x, 0), (x, 0, x + 1, 32))
            save(stripes, tmp_path / "a" / f"{k}.png")
            stripes.paste((k, 0, 1), (0, 0, 1, 1))
            save(stripes, tmp_path / "b" / f"{k}.png")
        pairs = Pairs(tmp_path / "a", tmp_path / "b", said.append)
        row = montage(SIZE, from_panoramas(pairs)(pairs.read("0"), Random(0)))
        assert [row.getpixel((x, 1))[1] for x in range(96)] == list(range(96))

    def test_a_corrupt_window_is_named_and_left_out(self, tmp_path, folders, said):
        for k in range(3):
            save(plain((0, 0, 100 + k), (32, 32)), tmp_path / "windows" / f"{k}.png")
        broken = tmp_path / "windows" / "broken.png"
        broken.write_bytes(b"broken")
        parts = from_folder(tmp_path / "windows", said.append)
        rows = [montage(SIZE, parts(None, Random(seed))) for seed in range(20)]
        assert all({row.getpixel((x, 0))[2] for x in (0, 32, 64)} == {100, 101, 102} for row in rows)
        assert len(said) == 1
        assert str(broken) in said[0]

    def test_pictures_that_can_have_no_montage_do_not_stop_the_others(self, folders, said):
        for k, folder in enumerate(folders):
            save(plain((0, 0, k), (32, 32)), folder / "square.png")
        questions = drawn(Pairs(*folders, said.append), said, 7, vigilance=6)
        assert {question.pair for question in questions if not question.vigilance} >= {"square"}
        assert {question.pair for question in questions if question.vigilance} == {f"forest/{k}" for k in range(6)}


class TestDrawing:
    def test_the_same_seed_asks_the_same(self, folders, said):
        first, again, other = (drawn(Pairs(*folders, said.append), said, seed=seed) for seed in (3, 3, 4))
        assert survey_id(first) == survey_id(again) != survey_id(other)
        assert [question.pair for question in first] == [question.pair for question in again]

    def test_no_pair_is_asked_about_twice_and_vigilance_pairs_are_others(self, folders, said):
        questions = drawn(Pairs(*folders, said.append), said, 4, 2)
        assert {question.pair for question in questions} == {f"forest/{k}" for k in range(6)}
        assert [question.vigilance for question in questions] == [False] * 4 + [True] * 2

    def test_right_answer_of_a_vigilance_pair_is_the_second_folders_picture(self, folders, said):
        for question in drawn(Pairs(*folders, said.append), said, vigilance=9)[4:]:
            assert question.b.getpixel((0, 0)) == (0, 10 + int(question.pair[-1]), 0)

    def test_fewer_pairs_than_questions_is_said(self, folders, said):
        assert len(drawn(Pairs(*folders, said.append), said, 20, 0)) == 6
        assert said == ["20 questions asked for, 6 pairs can be used: the page asks 6"]

    def test_no_pair_left_is_refused(self, folders, said):
        for path in folders[0].rglob("*.png"):
            path.write_bytes(b"broken")
        with pytest.raises(Refused, match="no pair is left"):
            drawn(Pairs(*folders, said.append), said)
        assert len(said) == 6

    def test_prompts_go_by_pair_then_by_folder(self):
        prompts = {"forest": "a forest", "forest/2": "two trees"}
        names = ("forest/1", "forest/2", "forest/deep/3", "city/1")
        assert [prompt_of(name, prompts) for name in names] == ["a forest", "two trees", "a forest", ""]

    @pytest.mark.parametrize("text", ["", "{", '["a forest"]', '{"forest": 3}'])
    def test_a_wrong_file_of_prompts_is_refused(self, tmp_path, text):
        (tmp_path / "prompts.json").write_text(text)
        with pytest.raises(Refused, match="JSON object such as"):
            read_prompts(tmp_path / "prompts.json")

    def test_id_is_of_the_pictures_not_of_their_order_or_names(self):
        one, two = Question("1", plain(1), plain(2)), Question("2", plain(3), plain(4))
        assert survey_id([one, two]) == survey_id([two, one]) == survey_id([Question("x", one.a, one.b), two])
        assert survey_id([one]) != survey_id([Question("1", one.b, one.a)])


class Reader(html.parser.HTMLParser):
    """What a browser's parser would find: elements with attributes, and the text inside of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.texts, self._key = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._key = (tag, dict(attrs).get("type"))

    def handle_endtag(self, tag):
        self._key = None

    def handle_data(self, data):
        self.texts[self._key] = self.texts.get(self._key, "") + data


class TestPage:
    @pytest.fixture
    def text(self):
        questions = [Question(HOSTILE, plain((250, 0, 0)), plain((0, 250, 0)), prompt=HOSTILE + "&amp;\u2028\u00e9")]
        return page(questions, (HOSTILE, "@@SCRIPT@@"), seed=3)

    def test_data_survives_and_ends_nothing(self, text):
        reader = Reader(text)
        data = json.loads(reader.texts["script", "application/json"])
        assert data["names"] == [HOSTILE, "@@SCRIPT@@"]
        assert data["questions"][0]["pair"] == HOSTILE
        assert data["questions"][0]["prompt"] == HOSTILE + "&amp;\u2028\u00e9"
        assert sum(tag == "script" for tag, _ in reader.elements) == 2
        assert [attrs.get("id") for tag, attrs in reader.elements if tag == "img"] == [
            "first-picture",
            "second-picture",
        ]

    def test_nothing_in_embedded_json_is_markup(self):
        assert not set("<>&\u2028\u2029") & set(embedded([HOSTILE, "&\u2028\u2029"]))

    def test_policy_allows_the_two_parts_by_hash_and_nothing_else(self, text):
        reader = Reader(text)
        policy = next(a["content"] for tag, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
        rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
        for kind in ("script", "style"):
            digest = base64.b64encode(hashlib.sha256(reader.texts[kind, None].encode()).digest()).decode()
            assert rules.pop(f"{kind}-src") == f"'sha256-{digest}'"
        assert rules.pop("img-src") == "data:"
        assert set(rules) == {"default-src", "base-uri", "form-action"}
        assert set(rules.values()) == {"'none'"}

    def test_nothing_is_loaded_and_no_text_becomes_markup(self, text):
        script = Reader(text).texts["script", None]
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|fetch|http", script
        )
        assert not [a for _, a in Reader(text).elements if a.get("src") or a.get("href") or "style" in a]
        assert not [name for _, attrs in Reader(text).elements for name in attrs if name.startswith("on")]

    def test_the_question_is_the_papers(self, text):
        assert "Which one appears a more coherent panorama image to you?" in text
        assert "Choose one of the following images." in text

    @pytest.mark.parametrize("lossless", [False, True])
    def test_pictures_are_coded_anew_without_what_the_file_says(self, tmp_path, lossless):
        info = PngInfo()
        info.add_text("workflow", "SyncDiffusion")
        noise = Image.effect_noise(SIZE, 40).convert("RGB")
        noise.save(tmp_path / "a.png", pnginfo=info)
        question = Question("1", read_picture(tmp_path / "a.png"), plain(0))
        data = json.loads(Reader(page([question], ("x", "y"), 0, lossless)).texts["script", "application/json"])
        code = base64.b64decode(data["questions"][0]["a"].partition("base64,")[2])
        shown = Image.open(io.BytesIO(code))
        assert b"SyncDiffusion" not in code
        assert shown.format == ("PNG" if lossless else "JPEG")
        error = max(abs(x - y) for x, y in zip(shown.tobytes(), noise.tobytes(), strict=True))
        assert error == 0 if lossless else error < 30


class TestCommand:
    def test_makes_the_page_and_says_so(self, folders, tmp_path, capsys):
        out = tmp_path / "new" / "survey.html"
        main([*map(str, folders), "--out", str(out), "--questions", "3", "--vigilance-pairs", "2"])
        assert "3 questions, 2 vigilance pairs" in capsys.readouterr().out
        assert "\r" not in out.read_bytes().decode()
        assert [path.name for path in out.parent.iterdir()] == ["survey.html"]

    def test_a_refusal_leaves_an_earlier_page(self, folders, tmp_path):
        out = tmp_path / "survey.html"
        out.write_text("earlier")
        for wrong in (["--vigilance", str(tmp_path / "nowhere")], ["--names", "x", "x"]):
            with pytest.raises(SystemExit, match=r"is not a folder|two different ones"):
                main([*map(str, folders), "--out", str(out), *wrong])
        assert out.read_text() == "earlier"

    @pytest.mark.parametrize("option", ["--questions=0", "--questions=-1", "--questions=many", f"--seed={2**32}"])
    def test_numbers_are_checked(self, folders, capsys, option):
        with pytest.raises(SystemExit):
            main([*map(str, folders), option])
        assert f"got {option.partition('=')[2]}" in capsys.readouterr().err


def a_result(participant=1, chosen="b" * 3 + "a" * 1, checks="bb", survey="s1", **changes) -> dict:
    """Answers of one participant: chosen for each pair, checks for each vigilance pair."""
    rows = [
        {
            "question": k,
            "pair": f"p{k}",
            "vigilance": k >= len(chosen),
            "first": "ab"[k % 2],
            "chosen": arm,
            "seconds": k,
        }
        for k, arm in enumerate(chosen + checks)
    ]
    result = {"format": "panorama-survey-1", "survey": survey, "names": ["MD", "Sync"], "seed": 0}
    return {**result, "participant": participant, "answers": rows, **changes}


@pytest.fixture
def write(tmp_path):
    def write(*results) -> list:
        paths = [tmp_path / f"{k}.json" for k in range(len(results))]
        for path, result in zip(paths, results, strict=True):
            path.write_text(result if isinstance(result, str) else json.dumps(result))
        return paths

    return write


class TestResult:
    def test_counts_by_hand(self, write):
        verdict = judge(*read_all(write(a_result(1, "bbba"), a_result(2, "bbaa"), a_result(3, "aaaa", checks="ba"))))
        assert (verdict.participants, verdict.preferred, verdict.answers) == (2, 5, 8)
        assert verdict.share == 0.625
        assert verdict.pairs == {"p0": (2, 2), "p1": (2, 2), "p2": (1, 2), "p3": (0, 2)}
        # First shown a, b, a, b: of bbba the answers 1; of bbaa the answers 1 and 2.
        assert verdict.first == 3
        assert verdict.seconds == 1.5
        assert verdict.spread == pytest.approx(math.sqrt(((0.75 - 0.625) ** 2 + (0.5 - 0.625) ** 2) / 1))
        assert verdict.names == ("MD", "Sync")

    @pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 6), (13, 20), (1141, 1720)])
    def test_interval_and_p_from_the_distributions(self, write, k, n):
        verdict = judge(*read_all(write(a_result(chosen="b" * k + "a" * (n - k)))))
        assert verdict.p == pytest.approx(min(1, 2 * binom.cdf(min(k, n - k), n, 0.5)))
        assert verdict.low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0)
        assert verdict.high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1)
        assert (verdict.p < 0.05) == (not verdict.low <= 0.5 <= verdict.high)

    def test_answers_for_the_picture_shown_first(self, write):
        assert [judge(*read_all(write(a_result(chosen=chosen)))).first for chosen in ("bbbb", "abab", "baba")] == [
            2,
            4,
            0,
        ]

    def test_who_fails_is_named(self, write):
        paths = write(a_result(1), a_result(2, checks="ba"))
        assert judge(*read_all(paths)).left_out == [f"{paths[1]}: left out, 1 of 2 vigilance pairs right"]

    def test_only_failures_are_refused(self, write):
        with pytest.raises(Refused, match=r"1 of 2 vigilance pairs right\nno result is left"):
            judge(*read_all(write(a_result(checks="ba"))))

    def test_no_vigilance_pairs_pass(self, write):
        assert judge(*read_all(write(a_result(checks="")))).participants == 1

    def test_a_participant_counts_once(self, write):
        verdict = judge(*read_all(write(a_result(7), a_result(7))))
        assert verdict.participants == 1
        assert "again" in verdict.left_out[0]

    @pytest.mark.parametrize("other", [{"survey": "s2"}, {"chosen": "bbb"}])
    def test_different_surveys_are_not_mixed(self, write, other):
        paths = write(a_result(1), a_result(2, **other))
        with pytest.raises(Refused, match="different surveys") as refusal:
            read_all(paths)
        assert all(str(path) in str(refusal.value) for path in paths)

    def test_a_result_copied_without_names_takes_them_from_the_others(self, write):
        assert judge(*read_all(write(a_result(1, names=None), a_result(2)))).names == ("MD", "Sync")
        assert judge(*read_all(write(a_result(1, names=None)))).names == ("A", "B")


BROKEN_ROW = {"question": 0, "pair": "p", "vigilance": False, "first": "a", "chosen": "b", "seconds": 1}


BROKEN = [
    "",
    "{",
    "[]",
    "3",
    "[" * 100_000,
    a_result(format="other"),
    a_result(answers=None),
    a_result(answers=[]),
    a_result(answers=[3]),
    a_result(answers=[BROKEN_ROW, BROKEN_ROW]),
    a_result(participant="1"),
    a_result(names=["one"]),
    a_result(survey=["s1"]),
    *(
        a_result(answers=[{**BROKEN_ROW, **change}])
        for change in (
            {"chosen": "c"},
            {"chosen": None},
            {"chosen": ["a"]},
            {"first": 1},
            {"vigilance": 0},
            {"vigilance": True},
            {"seconds": "1"},
            {"seconds": float("nan")},
            {"seconds": float("inf")},
            {"seconds": -1},
            {"pair": None},
            {"question": True},
        )
    ),
    *({key: value for key, value in a_result().items() if key != left} for left in ("answers", "survey", "seed")),
]


class TestBrokenResults:
    @pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
    def test_is_named_and_the_others_are_counted(self, write, broken):
        paths = write(broken, a_result(1))
        verdict = judge(*read_all(paths))
        assert verdict.participants == 1
        assert len(verdict.left_out) == 1
        assert verdict.left_out[0].startswith(f"{paths[0]}: ")

    def test_a_file_that_is_not_there_and_one_that_is_no_text(self, tmp_path):
        (tmp_path / "picture.json").write_bytes(b"\x89PNG\xff")
        for name in ("picture.json", "nowhere.json"):
            with pytest.raises(Refused, match=name):
                read_sheet(tmp_path / name)


def test_result_command_says_it_in_words_and_as_json(write, capsys):
    paths = write(a_result(1, "bbba"), a_result(2, "bbaa"), "broken")
    result_main([*map(str, paths)])
    output = capsys.readouterr()
    assert "Sync preferred to MD in 5 of 8 answers: 62.50 % (95 % interval 24.5 to 91.5 %)" in output.out
    assert "standard deviation over participants 17.68 %" in output.out
    assert str(paths[2]) in output.err
    result_main([*map(str, paths), "--json"])
    assert json.loads(capsys.readouterr().out)["share"] == 0.625
    with pytest.raises(SystemExit, match="no result is left"):
        result_main([str(paths[2])])
