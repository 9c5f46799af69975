"""The environment of the two commands: what it asks for, when it is made again. No network, no torch."""

import importlib
import sys
from pathlib import Path

import pytest

environment = importlib.import_module("_environment")
progress = importlib.import_module("_progress")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNCDIFFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class FakeRun:
    """Stands for run_logged: makes the folder of an environment, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.commands, self.failures = [], failures

    def __call__(self, title, command, log, timeout=None, env=None):
        self.commands.append(command)
        if "venv" in command:
            folder = Path(command[-1])
            (folder / "lib" / "python3" / "site-packages").mkdir(parents=True)
            environment.python_of(folder).parent.mkdir(parents=True)
            environment.python_of(folder).touch()
        elif self.failures:
            self.failures -= 1
            raise progress.StepFailed("no network")

    @property
    def installs(self) -> int:
        return sum("install" in command for command in self.commands)


def test_requirement_lines_are_read_without_comments_and_options(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("torch\n\n# not this\n-r other.txt\ncomfy-kitchen==0.2.31  # pinned\n")
    assert environment.read_requirements(file) == ["torch", "comfy-kitchen==0.2.31"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("SQLAlchemy>=2.0.0", "sqlalchemy"),
        ("pydantic_settings~=2.0", "pydantic-settings"),
        ("uvicorn[standard]", "uvicorn"),
        ("torch", "torch"),
        ("av ; sys_platform != 'win32'", "av"),
    ],
)
def test_name_of_a_requirement(line, name):
    assert environment.name_of(line) == name


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.11.0+cpu", (2, 11)), ("0.33", (0, 33)), ("1.2.3rc1", (1, 2, 3)), ("v1", ())]
)
def test_release_numbers(version, numbers):
    assert environment.release(version) == numbers


def test_missing_names_what_is_absent_or_too_old():
    lines = ["pytest", "pytest>=1.0", "PyTest==1", "pytest>=9999", "no-such-package", "nor-this; sys_platform"]
    assert environment.missing(lines) == ["pytest>=9999", "no-such-package"]


def test_torch_is_pinned_and_the_rest_is_the_hosts():
    lines = environment.with_pinned_torch(["einops", "torch", "torchvision", "torchaudio>=2", "torchsde"])
    assert lines == [*environment.TORCH, "einops", "torchsde"]


def test_key_follows_the_requirements_and_not_their_order():
    key = environment.environment_key(["a", "b==1"])
    assert key == environment.environment_key(["b==1", "a"])
    assert key != environment.environment_key(["b==2", "a"])
    assert key != environment.environment_key(["b==1", "a"], "/below")


def test_running_interpreter_is_used_as_it_is(cache):
    run = FakeRun()
    assert environment.ensure(["pytest"], ["pytest"], run) == Path(sys.executable)
    assert run.commands == []
    assert not cache.exists()


def test_environment_is_made_once(cache):
    run = FakeRun()
    first = environment.ensure(["no-such-package"], ["nor-this"], run)
    second = environment.ensure(["no-such-package"], ["nor-this"], run)
    assert first == second
    assert cache in first.parents
    assert run.installs == 1
    listed = (first.parents[1] / "requirements.txt").read_text().splitlines()
    assert listed == [*environment.TORCH, "no-such-package", "nor-this"]


def test_environment_whose_python_is_gone_is_made_again(cache):
    run = FakeRun()
    python = environment.ensure(["no-such-package"], [], run)
    python.unlink()
    assert environment.ensure(["no-such-package"], [], run) == python
    assert run.installs == 2


def test_unfinished_environment_is_made_again(cache):
    run = FakeRun(failures=1)
    with pytest.raises(progress.StepFailed, match="no network"):
        environment.ensure(["no-such-package"], [], run)
    folder = next(path for path in (cache / "envs").iterdir() if path.is_dir())
    left = folder / "left by the killed install"
    left.touch()
    python = environment.ensure(["no-such-package"], [], run)
    assert environment.python_of(folder) == python
    assert run.installs == 2
    assert not left.exists()


def test_only_the_tasks_own_packages_are_added_to_a_python_with_torch(cache):
    run = FakeRun()
    python = environment.ensure(["pytest"], ["no-such-package"], run)
    folder = python.parents[1]
    assert (folder / "requirements.txt").read_text() == "no-such-package\n"
    below = next(folder.rglob("below.pth")).read_text().splitlines()
    assert str(Path(pytest.__file__).parents[1]) in below


def test_failing_command_shows_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
    with pytest.raises(progress.StepFailed, match=r"(?s)exit status 3.*the reason"):
        progress.run_logged("trying", command, tmp_path / "log.txt")


def test_command_that_hangs_is_ended(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(progress.StepFailed, match="trying"):
        progress.run_logged("trying", command, tmp_path / "log.txt", timeout=0.5)
