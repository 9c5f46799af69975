"""What the commands owe to the machine they run on: an installation left as it was, no process left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_running_server_writes_nothing_into_the_installation(host_tests, comfy_server):
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "test"}},
    }
    outputs, events = comfy_server.run(graph)
    saved = comfy_server.output / outputs["2"]["images"][0]["filename"]
    assert saved.is_file()
    assert ("executing", "2") in [(kind, data.get("node")) for kind, data in events]
    assert comfy_server.new_files(host_tests.found.folder) == []


if os.name == "posix":  # elsewhere there is no signal that stands for Ctrl-C

    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
    def test_stopped_demo_leaves_no_server_behind(host_tests, tmp_path, name):
        env = {**os.environ, "COMFYUI_PATH": str(host_tests.found.folder), "TMPDIR": str(tmp_path)}
        command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--out", str(tmp_path / "out")]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=env, stdout=pipe, text=True, preexec_fn=hear_ctrl_c) as demo:
            log = wait_for(lambda: next(tmp_path.glob("syncdiffusion-*/comfyui.log"), None))
            wait_for(lambda: log.read_text())
            demo.send_signal(getattr(signal, name))
            output, _ = demo.communicate(timeout=120)
        wait_for(lambda: str(log.parent) not in processes())
        if name != "SIGKILL":  # which leaves nobody to tidy up
            assert demo.returncode == 128 + getattr(signal, name), output
            assert not list(tmp_path.glob("syncdiffusion-*"))


def hear_ctrl_c() -> None:
    """In a child process: a shell that runs the tests in the background has them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(condition, seconds: float = 120):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return value


def processes() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
