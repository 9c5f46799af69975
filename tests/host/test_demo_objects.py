"""The model of objects in the host's own classes, before and after its training."""

import shutil

import pytest
import torch

from demo.controlnet import ControlNet
from demo.objects import CONTROL_FILE, OBJECTS
from demo.pipeline import load_demo
from demo.text_encoder import TextEncoder
from demo.tokenizer import Tokenizer
from demo.unet import UNet
from syncdiffusion_core.weights import open_weights

NODE = "SyncDiffusionLoadDemoModelObjects"


@pytest.fixture
def files(module_of, monkeypatch, random_objects):
    """The loader's files are those of a training that did not learn anything."""
    module = module_of("host.files.demo_model")
    monkeypatch.setattr(module, "OBJECTS_FILE", random_objects / OBJECTS.file.name)
    monkeypatch.setattr(module, "DEPTH_FILE", random_objects / CONTROL_FILE.name)
    return module


def opened(path):
    return open_weights(path, "safetensors file", "train it")


@pytest.fixture
def plain(random_objects):
    """(UNet, text encoder, ControlNet) without a host."""
    states = OBJECTS.changed(load_demo().unet.state_dict(), opened(random_objects / OBJECTS.file.name))
    networks = UNet(), TextEncoder(OBJECTS.text_config)
    for network, state in zip(networks, states, strict=True):
        network.load_state_dict(state)
    control = ControlNet()
    opened(random_objects / CONTROL_FILE.name).fill(control, "a ControlNet")
    return *networks, control


@pytest.mark.parametrize("name", ["DEPTH_FILE", "OBJECTS_FILE"])
def test_until_it_is_trained_the_node_says_what_is_missing(name, run_node, files, monkeypatch, tmp_path):
    monkeypatch.setattr(files, name, tmp_path / "gone.safetensors")
    with pytest.raises(ValueError, match=r"^gone.safetensors: not a readable safetensors file \(it is missing\)"):
        run_node(NODE)


def test_words_pictures_and_hints_are_those_of_the_file(run_node, files, plain):
    model, clip, _, control = run_node(NODE)
    unet, text, control_net = plain
    context = run_node("CLIPTextEncode", clip=clip, text="red brick vase, front view")[0][0][0]
    ids = Tokenizer(tuple(OBJECTS.vocabulary)).batch(["red brick vase, front view"])
    seeded = torch.Generator().manual_seed(0)
    x, t = torch.randn(1, 4, 16, 16, generator=seeded), torch.tensor([500.0])
    hint = torch.rand(1, 3, 128, 128, generator=seeded)
    with torch.no_grad():
        torch.testing.assert_close(context, text(ids), atol=1e-5, rtol=1e-4)
        theirs = control.control_model(x=x, hint=hint, timesteps=t, context=context)
        ours = control_net(x, hint, t, context)
        for a, b in zip([*theirs["output"], *theirs["middle"]], ours, strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
        assert max(float(part.abs().max()) for part in ours) > 0.01
        torch.testing.assert_close(
            model.model.diffusion_model(x, t, context), unet(x, t, context), atol=1e-3, rtol=1e-3
        )


def test_the_hosts_own_loader_reads_the_controlnet(run_node, host, files, random_objects):
    folder = host.base / "models" / "controlnet"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(random_objects / CONTROL_FILE.name, folder / CONTROL_FILE.name)
    stock, ours = run_node("ControlNetLoader", control_net_name=CONTROL_FILE.name)[0], run_node(NODE)[3]
    given = {
        "x": torch.randn(1, 4, 16, 16),
        "hint": torch.rand(1, 3, 128, 128),
        "timesteps": torch.tensor([500.0]),
        "context": torch.randn(1, 16, 128),
    }
    with torch.no_grad():
        theirs, own = stock.control_model(**given), ours.control_model(**given)
    assert type(stock) is type(ours)
    for kind in ("output", "middle"):
        assert all(torch.equal(a.float(), b) for a, b in zip(theirs[kind], own[kind], strict=True))


def test_words_of_no_object_are_reported(run_node, files, host):
    host.server.events.clear()
    run_node("CLIPTextEncode", clip=run_node(NODE)[1], text="a red spaceship of brick")
    told = [data for _, data in host.server.events if isinstance(data, bytes)]
    assert any(b"spaceship" in data for data in told)
    assert not any(b"brick" in data for data in told)
