"""An older host gets a sentence, not a traceback."""

import asyncio
import logging

import comfyui_version
import pytest


@pytest.fixture
def extension(module_of):
    """The pack's extension module."""
    return module_of("extension")


@pytest.mark.parametrize("version", ["0.3.64", "0.32.9"])
def test_an_older_host_is_told_so(extension, monkeypatch, caplog, version):
    monkeypatch.setattr(comfyui_version, "__version__", version)
    with caplog.at_level(logging.ERROR):
        made = extension.make_extension()
    assert asyncio.run(made.get_node_list()) == []
    assert "0.33.0" in caplog.text
    assert version in caplog.text


@pytest.mark.parametrize("version", ["0.33.0", "0.34.1", "1.0.0", "nightly"])
def test_this_and_newer_hosts_get_the_nodes(pack, extension, monkeypatch, version):
    monkeypatch.setattr(comfyui_version, "__version__", version)
    assert len(asyncio.run(extension.make_extension().get_node_list())) == len(pack)
