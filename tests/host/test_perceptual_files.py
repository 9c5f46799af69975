"""Perceptual networks: offered, fetched on request only, checked, converted."""

import errno
import hashlib
import http.server
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from syncdiffusion_core.perceptual.files import load_perceptual


@pytest.fixture
def module(pack):
    """The pack's module behind the loader node."""
    loader = sys.modules[pack["SyncDiffusionLoadPerceptualModel"].__module__]
    return sys.modules[loader.load.__module__]


@pytest.fixture
def published(tmp_path):
    """publish(state dict) -> (URL, SHA-256) of a pickled file on a local server."""
    handler = lambda *args: http.server.SimpleHTTPRequestHandler(*args, directory=str(tmp_path))  # noqa: E731
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def publish(state: dict) -> tuple[str, str]:
        path = tmp_path / "trunk.pth"
        torch.save(state, path)
        return f"http://127.0.0.1:{server.server_port}/trunk.pth", hashlib.sha256(path.read_bytes()).hexdigest()

    yield publish
    server.shutdown()


def trunk(net: str) -> dict:
    """torchvision's network with random weights."""
    import torchvision

    build = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg19-style": "vgg19"}[net]
    if net == "vgg19-style":
        return {f"features.{k}": v for k, v in torchvision.models.vgg19().features[:11].state_dict().items()}
    return torchvision.models.get_model(build, weights=None).state_dict()


@pytest.mark.parametrize("net", ["squeeze", "vgg19-style"])
def test_fetched_checked_converted(module, published, tmp_path, net):
    state = trunk(net)
    url, digest = published(state)
    download = module.Download(f"{net}.safetensors", net, url, digest, 1)
    path = module.fetch(download, tmp_path / "models")
    assert [p.name for p in (tmp_path / "models").iterdir()] == [f"{net}.safetensors"]
    network = load_perceptual(path)
    first = network.net.net.slice1[0].weight if net == "squeeze" else network.features_[0].weight
    assert torch.equal(first, state["features.0.weight"])
    image = torch.rand(2, 3, 64, 64)
    features = network.features(image)
    assert network.distance(features, features).abs().max() == 0
    assert (network.distance(features, tuple(f.flip(0) for f in features)) > 0).all()


def test_another_file_than_the_published_one_is_refused(module, published, tmp_path):
    url, _ = published({"features.0.weight": torch.zeros(1)})
    download = module.Download("x.safetensors", "squeeze", url, "0" * 64, 1)
    with pytest.raises(ValueError, match="not the published file"):
        module.fetch(download, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_no_connection_is_said(module, tmp_path):
    download = module.Download("x.safetensors", "squeeze", "http://127.0.0.1:9/none.pth", "0", 1)
    with pytest.raises(ValueError, match="could not be fetched"):
        module.fetch(download, tmp_path / "models")


def test_a_download_stands_for_its_file_once_it_was_made(module, host):
    folder = Path(host.base) / "models" / "perceptual"
    folder.mkdir(parents=True, exist_ok=True)
    name = next(choice for choice, download in module.DOWNLOADS.items() if download.net == "alex")
    assert module.choices()[0] == module.BUILT_IN
    (folder / module.DOWNLOADS[name].file).write_bytes(b"")
    try:
        assert {name, module.DOWNLOADS[name].file} <= set(module.choices())
        assert module.resolve(name) == folder / module.DOWNLOADS[name].file
    finally:
        (folder / module.DOWNLOADS[name].file).unlink()


def test_hashes_and_places_of_the_downloads(module):
    for download in module.DOWNLOADS.values():
        assert download.url.startswith("https://download.pytorch.org/models/")
        assert download.url.rsplit("-", 1)[1].startswith(download.sha256[:8])  # torchvision's names carry the hash
        assert replace(download).file.endswith(".safetensors")


def test_the_built_in_network_loads(run_node):
    model = run_node("SyncDiffusionLoadPerceptualModel")[0]
    assert model.network.constant > 0
    assert len(model.network.features(torch.rand(1, 3, 128, 128))) >= 4


def test_the_built_in_style_compares_gram_matrices_of_the_same_network(run_node):
    scene, style = (
        run_node("SyncDiffusionLoadPerceptualModel", perceptual_name=name)[0].network
        for name in ("scene (built in)", "scene style (built in)")
    )
    image = torch.rand(2, 3, 32, 32)
    for tap, gram in zip(scene.taps(image), style.features(image), strict=True):
        assert torch.allclose(gram, torch.einsum("ncij,ndij->ncd", tap, tap) / tap[0].numel(), atol=1e-5)
    assert style.constant > scene.constant


# Downloads that break off.


@pytest.fixture
def answering():
    """answering(handle) -> URL of a server whose GET is handle(request handler)."""
    servers = []

    def start(handle: Callable) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                handle(self)
                self.close_connection = True

            def log_message(self, *args):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/trunk.pth"

    yield start
    for server in servers:
        server.shutdown()


def headers(request, *pairs) -> None:
    request.send_response(200)
    for pair in pairs:
        request.send_header(*pair)
    request.end_headers()


def cut(request):
    headers(request, ("Content-Length", "5000000"))
    request.wfile.write(b"x" * 2_000_000)


def cut_in_a_chunk(request):
    headers(request, ("Transfer-Encoding", "chunked"))
    request.wfile.write(b"ffff\r\nabc")


def not_even_a_header(request):
    request.wfile.write(b"nonsense\r\n\r\n")


def slammed(request):
    headers(request, ("Content-Length", "5000000"))
    request.wfile.write(b"x" * 100_000)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    request.connection.close()


def gone(request):
    request.send_error(404)


def round_and_round(request):
    request.send_response(302)
    request.send_header("Location", "/trunk.pth")
    request.end_headers()


BROKEN = {
    cut: "it broke off after 2000000 of 5000000 bytes",
    cut_in_a_chunk: "could not be fetched",
    not_even_a_header: "could not be fetched",
    slammed: "could not be fetched",
    gone: "404",
    round_and_round: "could not be fetched",
}


@pytest.mark.parametrize("handle", BROKEN, ids=lambda handle: handle.__name__)
def test_a_server_that_breaks_off_is_said(handle, module, answering, tmp_path):
    download = module.Download("x.safetensors", "vgg19-style", answering(handle), "0" * 64, 5)
    with pytest.raises(ValueError, match=BROKEN[handle]) as caught:
        module.fetch(download, tmp_path / "models")
    assert "check the connection" in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_length_that_is_too_small_or_no_number_is_another_file(module, answering, tmp_path):
    for length in ("10", "many", "-5"):

        def handle(request, length=length):
            headers(request, ("Content-Length", length))
            request.wfile.write(b"x" * 1000)

        download = module.Download("x.safetensors", "vgg19-style", answering(handle), "0" * 64, 5)
        with pytest.raises(ValueError, match="not the published file"):
            module.fetch(download, tmp_path / "models")
        assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("place", ["the download", "the network"])
def test_a_full_disk_is_said_with_the_room_that_it_takes(place, module, published, tmp_path, monkeypatch, module_of):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    url, digest = published(trunk("vgg19-style"))
    downloads = module_of("host.files.downloads")
    if place == "the download":
        monkeypatch.setattr(downloads.tempfile, "TemporaryFile", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    download = module.Download("x.safetensors", "vgg19-style", url, digest, 5)
    with pytest.raises(ValueError, match=r"could not be written into .*No space left on device.*10 MB") as caught:
        module.fetch(download, tmp_path / "models")
    assert "Nothing was kept" in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_is_a_file_is_said(module, published, tmp_path):
    url, digest = published(trunk("vgg19-style"))
    (tmp_path / "models").write_bytes(b"")
    download = module.Download("x.safetensors", "vgg19-style", url, digest, 5)
    with pytest.raises(ValueError, match="could not be written into"):
        module.fetch(download, tmp_path / "models")


def test_an_interrupt_leaves_nothing(module, published, tmp_path, monkeypatch):
    import comfy.model_management

    url, digest = published(trunk("vgg19-style"))
    comfy.model_management.interrupt_current_processing(True)
    download = module.Download("x.safetensors", "vgg19-style", url, digest, 5)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        module.fetch(download, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


KILLED = """
import asyncio, sys
sys.path[:0] = [{host!r}]
from comfy.cli_args import args
args.cpu, args.base_directory = True, {base!r}
import nodes
assert asyncio.run(nodes.load_custom_node({pack!r}))
files = next(module for name, module in sys.modules.items() if name.endswith("files.perceptual_files"))
from pathlib import Path
files.fetch(files.Download("x.safetensors", "vgg19-style", {url!r}, "0" * 64, 500), Path({folder!r}))
"""


@pytest.fixture
def stalling(answering):
    """(URL of a download that never ends, event: some of it was sent)."""
    sent, end = threading.Event(), threading.Event()

    def handle(request):
        headers(request, ("Content-Length", "500000000"))
        request.wfile.write(b"x" * 8_000_000)
        sent.set()
        end.wait(60)

    yield answering(handle), sent
    end.set()


def test_a_download_that_is_killed_leaves_nothing_and_disturbs_no_other(module, stalling, published, host, tmp_path):
    """SIGKILL: no handler runs. Another process fetches the same file into the same folder meanwhile."""
    (base := tmp_path / "base").mkdir()
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (base / name).mkdir()
    folder, (url, sent) = tmp_path / "models", stalling
    pack = Path(__file__).resolve().parents[2]
    script = KILLED.format(host=str(host.folder), base=str(base), pack=str(pack), url=url, folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert sent.wait(120)
        time.sleep(0.5)
        good = module.Download("x.safetensors", "vgg19-style", *published(trunk("vgg19-style")), 5)
        path = module.fetch(good, folder)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert list(folder.iterdir()) == [path]
    load_perceptual(path)


def scratch(folder: Path, age_s: float) -> list[Path]:
    """What kills left behind: a folder of version 0.1.0, another before its first byte, a file half written."""
    old = [folder / "tmpabcd_123", folder / "tmp0a1b2c3d", folder / "lpips_vgg.safetensors.0a1b2c3d.syncdiffusion-part"]
    for path in old[:2]:
        path.mkdir(parents=True)
    (old[0] / "trunk.pth").write_bytes(b"x" * 1000)
    (old[0] / "lpips_vgg.safetensors").write_bytes(b"x")
    old[2].write_bytes(b"x")
    for path in [*old, *old[0].iterdir()]:
        os.utime(path, (time.time() - age_s,) * 2)
    return old


def others(folder: Path) -> list[Path]:
    """What is none of ours, as old."""
    kept = [folder / "tmp_pictures", folder / "my.safetensors", folder / "film.part", folder / "tmpfile_own"]
    kept[0].mkdir(parents=True)
    (kept[0] / "mine.png").write_bytes(b"x")
    for path in kept[1:]:
        path.write_bytes(b"x")
    for path in [*kept, *kept[0].iterdir()]:
        os.utime(path, (1, 1))
    return kept


@pytest.mark.parametrize("way", ["fetch", "load"])
def test_what_earlier_kills_left_goes_and_nothing_else(way, module, published, tmp_path, monkeypatch):
    import folder_paths

    folder = tmp_path / "models"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "perceptual", ([str(folder)], {".safetensors"}))
    left, kept = scratch(folder, age_s=3600), others(folder)
    if way == "load":
        module.load(module.BUILT_IN)
    else:
        url, digest = published(trunk("vgg19-style"))
        kept.append(module.fetch(module.Download("x.safetensors", "vgg19-style", url, digest, 5), folder))
    assert not [path for path in left if path.exists()]
    assert sorted(folder.iterdir()) == sorted(kept)


def test_what_another_process_is_writing_stays(module, module_of, tmp_path):
    left = scratch(tmp_path, age_s=5)
    module_of("host.files.downloads").sweep(tmp_path)
    assert all(path.exists() for path in left)


def test_lpips_that_is_missing_is_told_before_a_trunk_is_fetched(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    download = module.Download("x.safetensors", "squeeze", "http://127.0.0.1:9/none.pth", "0", 1)
    with pytest.raises(ValueError, match=r"need the Python package lpips.*requirements.txt"):
        module.fetch(download, tmp_path / "models")


def test_damaged_layers_of_the_lpips_package_are_told_before_a_trunk_is_fetched(module, tmp_path, monkeypatch):
    import lpips

    monkeypatch.setattr(lpips, "__file__", str(tmp_path / "__init__.py"))
    heads = tmp_path / "weights" / "v0.1" / "squeeze.pth"
    heads.parent.mkdir(parents=True)
    download = module.Download("x.safetensors", "squeeze", "http://127.0.0.1:9/none.pth", "0", 1)
    for content in (None, b"", b"hello", bytes(1000)):
        if content is not None:
            heads.write_bytes(content)
        with pytest.raises(ValueError, match=r"squeeze.pth: not readable .*install the Python package lpips again"):
            module.fetch(download, tmp_path / "models")
