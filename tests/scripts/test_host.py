"""Finding a ComfyUI, and the files that have to agree with it. No network."""

import importlib
import json
import re
import socket
import sys
from pathlib import Path

import pytest

environment = importlib.import_module("_environment")
hosts = importlib.import_module("_host")

ROOT = environment.PACK_ROOT


def make_host(folder: Path, version: str = "0.33.0") -> Path:
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py", "execution.py"):
        (folder / name).touch()
    (folder / "comfyui_version.py").write_text(f'# generated\n__version__ = "{version}"\n')
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNCDIFFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


def test_named_host_comes_first(home, tmp_path):
    named = make_host(tmp_path / "named")
    make_host(home / "ComfyUI")
    host = hosts.find_host({"COMFYUI_PATH": str(named)}, home=home)
    assert (host.folder, host.version) == (named.resolve(), "0.33.0")


def test_order_of_the_other_places(home, tmp_path):
    enclosing = tmp_path / "enclosing"
    pack = enclosing / "custom_nodes" / "pack"
    places = [hosts.fetched_folder(), home / "ComfyUI", home / "comfy" / "ComfyUI", enclosing]
    assert hosts.find_host({}, pack, home) is None
    for place in places:  # each comes before the ones that are there already
        make_host(place)
        assert hosts.find_host({}, pack, home).folder == place.resolve()


def test_named_folder_without_a_host_is_an_error(home, tmp_path):
    make_host(home / "ComfyUI")
    with pytest.raises(hosts.HostError, match="not a ComfyUI"):
        hosts.find_host({"COMFYUI_PATH": str(tmp_path)}, home=home)


def test_named_host_below_the_floor_is_an_error(home, tmp_path):
    named = make_host(tmp_path / "old", "0.3.64")
    with pytest.raises(hosts.HostError, match=r"0\.3\.64.*0\.33\.0 or newer"):
        hosts.find_host({"COMFYUI_PATH": str(named)}, home=home)


def test_found_host_below_the_floor_is_passed_over(home, capsys):
    make_host(home / "comfy" / "ComfyUI", "0.3.64")
    wanted = make_host(home / "ComfyUI", "0.34.1")
    assert hosts.find_host({}, home=home).folder == wanted.resolve()
    assert "Passing over ComfyUI 0.3.64" in capsys.readouterr().out


def test_unreachable_upstream_is_one_loud_line(home, monkeypatch, capsys):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(hosts, "find_host", lambda: None)

    def refuse(*_args, **_kwargs):
        raise OSError("name or service not known")

    monkeypatch.setattr(hosts.urllib.request, "urlopen", refuse)
    assert hosts.find_or_fetch_host() is None
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("!!! No ComfyUI")


def test_pinned_release_reaches_the_floor():
    assert environment.release(hosts.PINNED.lstrip("v")) >= environment.release(hosts.floor())


def test_nodes_and_packaging_name_the_same_floor():
    source = (ROOT / "nodes" / "extension.py").read_text(encoding="utf-8")
    numbers = re.search(r"MINIMUM_HOST = \(([\d, ]+)\)", source).group(1)
    assert ".".join(numbers.split(", ")) == hosts.floor()


def test_packaging_and_requirements_name_the_same_packages():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = json.loads(re.search(r"^dependencies = (\[.*?\])$", text, re.MULTILINE).group(1))
    assert declared == environment.read_requirements(ROOT / "requirements.txt")


IN_THE_ENVIRONMENT = {"_client.py", "_follower.py"}


def test_what_makes_the_environment_is_standard_library_only():
    for path in (ROOT / "scripts").glob("*.py"):
        if path.name in IN_THE_ENVIRONMENT:
            continue
        source = path.read_text(encoding="utf-8")
        names = re.findall(r"^\s*(?:from|import) ([a-z_][a-z0-9_]*)", source, re.MULTILINE)
        own = {helper.stem for helper in path.parent.glob("_*.py")}
        assert not set(names) - own - set(sys.stdlib_module_names), path.name
        at_once = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
        assert not {f"{name}.py" for name in at_once} & IN_THE_ENVIRONMENT, path.name


def test_free_port_is_free():
    port = importlib.import_module("_server").free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
