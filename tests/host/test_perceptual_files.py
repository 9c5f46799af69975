"""Perceptual networks: offered, fetched on request only, checked, converted."""

import hashlib
import http.server
import sys
import threading
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
