"""Panorama Decode against the host's plain decode."""

import pytest
import torch


@torch.inference_mode()
def plain(vae, latent: torch.Tensor) -> torch.Tensor:
    """The host's own decode."""
    return vae.decode(latent)


@pytest.fixture
def latent() -> torch.Tensor:
    """A small random canvas."""
    return torch.randn(2, 4, 8, 20, generator=torch.Generator().manual_seed(0))


def test_without_wrap_it_is_the_host_decode(run_node, vae, latent):
    image = run_node("SyncDiffusionPanoramaDecode", samples={"samples": latent}, vae=vae)[0]
    assert torch.equal(image, plain(vae, latent))


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_wrapped_picture_does_not_depend_on_where_it_is_cut(run_node, vae, latent, axis):
    """Rolling the latent and rolling the picture agree: there is no edge any more."""

    def decode(samples):
        wraps = {f"wrap_{axis}": True, "wrap_margin": 256}
        return run_node("SyncDiffusionPanoramaDecode", samples={"samples": samples}, vae=vae, **wraps)[0]

    dim, image_dim, shift = {"x": (-1, 2, 5), "y": (-2, 1, 3)}[axis]
    ours = decode(latent)
    rolled = decode(latent.roll(shift, dim))
    assert ours.shape == plain(vae, latent).shape
    assert (ours.roll(8 * shift, image_dim) - rolled).abs().mean() < 0.01  # the decoder's attention sees the padding
    assert (plain(vae, latent).roll(8 * shift, image_dim) - plain(vae, latent.roll(shift, dim))).abs().mean() > 0.01


def test_large_pictures_are_decoded_in_tiles(run_node, vae, monkeypatch):
    tiles = []
    inner = vae.decode_tiled
    monkeypatch.setattr(vae, "decode_tiled", lambda samples, **kw: tiles.append(kw) or inner(samples, **kw))
    latent = torch.randn(1, 4, 16, 80, generator=torch.Generator().manual_seed(0))
    image = run_node("SyncDiffusionPanoramaDecode", samples={"samples": latent}, vae=vae, tile_size=128)[0]
    assert tiles == [{"tile_x": 16, "tile_y": 16, "overlap": 4}]
    assert image.shape == (1, 128, 640, 3)
    assert (image - plain(vae, latent)).abs().mean() < 0.1


def test_a_vae_of_other_channels_is_refused(run_node, vae):
    with pytest.raises(ValueError, match="16"):
        run_node("SyncDiffusionPanoramaDecode", samples={"samples": torch.zeros(1, 16, 8, 8)}, vae=vae)


@pytest.mark.parametrize("height", [8, 34])  # cells: whole, and in tiles
def test_the_one_frame_of_a_latent_in_time_is_a_picture(height, run_node, vae):
    """Models of moving pictures with a VAE of pictures, which is how some of them are used."""
    cells = torch.randn(2, 4, 1, height, 32, generator=torch.manual_seed(1))

    def decoded(samples):
        return run_node("SyncDiffusionPanoramaDecode", samples={"samples": samples}, vae=vae, tile_size=128)[0]

    assert torch.equal(decoded(cells), decoded(cells[:, :, 0]))


def test_pictures_for_a_vae_of_frames_are_refused(run_node, vae, monkeypatch):
    monkeypatch.setattr(vae, "latent_dim", 3)
    with pytest.raises(ValueError, match="decodes frames in time; connect the VAE of the model"):
        run_node("SyncDiffusionPanoramaDecode", samples={"samples": torch.zeros(1, 4, 8, 8)}, vae=vae)
