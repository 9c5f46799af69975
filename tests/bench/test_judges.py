"""What scores: files of the user's, and complaints about what cannot run."""

import io
import os
from dataclasses import replace

import pytest
import torch
from PIL import Image

from bench.judges import demo_judges, file_judges
from bench.paper_table import main
from bench.pictures import picture
from bench.score import score
from demo.export import WEIGHTS
from syncdiffusion_core.perceptual.files import save_perceptual
from syncdiffusion_core.perceptual.lpips_net import Trunk, random_lpips
from syncdiffusion_core.perceptual.style import StyleNet

LPIPS = WEIGHTS / "judge.safetensors"
pytestmark = pytest.mark.filterwarnings("ignore:.*'(pretrained|weights)':UserWarning:torchvision")


@pytest.fixture
def files(tmp_path):
    """Two LPIPS and a style file with random weights."""
    paths = [tmp_path / name for name in ("squeeze.safetensors", "other.safetensors", "style.safetensors")]
    for seed, path in enumerate(paths[:2]):
        save_perceptual(path, "squeeze", random_lpips(Trunk.SQUEEZE, seed).net.state_dict(), 1.0)
    weights = {name.replace("features_", "features"): w for name, w in StyleNet().state_dict().items()}
    save_perceptual(paths[2], "vgg19-style", weights, 1.0)
    return paths


def test_the_first_lpips_and_the_style_file_are_the_papers_columns(files):
    judges = file_judges(files, None, None, "cpu")
    assert list(judges.intra) == ["Intra-LPIPS", "Intra-LPIPS (other)", "Intra-Style-L"]
    assert (judges.features, judges.captions, judges.labels) == (None, None, None)


def test_scores_of_other_files_have_another_name(files):
    one, same, other = (file_judges(chosen, None, None, "cpu").name for chosen in (files[:1], files[:1], files[1:2]))
    assert one == same != other


def test_a_files_figure_is_the_networks_mean_over_pairs(folder, arms, protocol, files):
    judges = file_judges(files[:1], None, None, "cpu")
    wide = replace(protocol, window_px=32, stride_px=16, widths_px=(96,))
    image = torch.rand(3, 32, 96, generator=torch.Generator().manual_seed(0))
    pixels = (image * 255).round().byte().permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(picture(folder, arms[2], 0))
    own = score(wide, replace(arms[2], width_px=96), 0, folder, judges)
    network = judges.intra["Intra-LPIPS"].net
    image = (image * 255).round() / 255
    windows = image.unfold(2, 32, 32).permute(2, 0, 1, 3)
    with torch.no_grad():
        pairs = [network(2 * windows[[i]] - 1, 2 * windows[[j]] - 1).item() for i in range(3) for j in range(i)]
    assert own.values["Intra-LPIPS"] == pytest.approx(sum(pairs) / 3, rel=1e-5)


def test_the_demos_judges_score_a_scene():
    judges = demo_judges()
    windows = torch.rand(2, 3, 128, 128)
    assert judges.labels(windows).sum(dim=1) == pytest.approx([1, 1])
    assert judges.features.embed(windows).shape == (2, 192)
    assert list(judges.intra) == ["Intra-LPIPS", "Intra-Style-L", "Intra-LPIPS (guiding network)"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--checkpoint", "x"], "--score-with: name at least one LPIPS file"),
        (["--checkpoint", "x", "--score-with", "none.safetensors"], "none.safetensors: not a readable safetensors"),
        (["--demo", "--url", "http://127.0.0.1:9"], "http://127.0.0.1:9 does not answer"),
        (["--demo", "--url", "127.0.0.1:8188"], "--url: has to begin with http:// or https://, got 127.0.0.1:8188"),
        (["--demo", "--score-only"], "holds no picture that can be scored"),
        (["--demo", "--prompts", "none.txt"], "none.txt"),
        (
            ["--checkpoint", "x", "--score-with", str(WEIGHTS / "judge.safetensors"), "--clip", "nowhere"],
            "no CLIP model",
        ),
    ],
)
def test_what_cannot_run_is_said_in_a_sentence(tmp_path, words, said):
    with pytest.raises(SystemExit, match=said):
        main([*words, "--out", str(tmp_path / "out"), "--panoramas", "1", "--references", "1"])


def test_a_missing_package_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.paper_table.PACKAGES", ("torch", "no_such_package"))
    with pytest.raises(SystemExit, match=r"no_such_package missing: .* -r bench/requirements\.txt"):
        main(["--demo", "--score-only", "--out", str(tmp_path / "out")])


def test_a_console_of_few_letters_can_show_the_table(tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("bench.paper_table.run", lambda _: "Intra-LPIPS ↓")
    main(["--demo", "--out", str(tmp_path / "out")])
    stream.flush()
    assert stream.buffer.getvalue() == b"Intra-LPIPS ?" + os.linesep.encode()
