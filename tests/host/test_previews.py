"""Previews of long canvases are cheap, and nothing but previews is made of them."""

import latent_preview
import pytest
import torch


@pytest.fixture
def shown(monkeypatch):
    """The clean canvases that the host's previewer decodes."""
    seen = []

    class Previewer:
        def decode_latent_to_preview_image(self, preview_format, x0):
            seen.append(tuple(x0.shape))

    monkeypatch.setattr(latent_preview, "get_previewer", lambda *args: Previewer())
    return seen


LONG = 8 * 1040  # px: 1040 cells


def test_long_canvases_are_shown_small(small, models, panorama, windows, shown):
    """A third of the cells along each side; the last one also in full, for hosts that keep it."""
    panorama(models["eps"], windows(512, 512), latent_image=small.empty_latent(LONG, 64), steps=2)
    assert shown == [(1, 4, 3, 347), (1, 4, 3, 347), (1, 4, 8, 1040)]


def test_others_are_shown_as_they_are(small, models, panorama, windows, shown):
    panorama(models["eps"], windows(64, 64), steps=2)
    assert shown == [(1, 4, 8, 24), (1, 4, 8, 24)]


@pytest.mark.parametrize("sampler_name", ["euler", "dpmpp_2m", "dpm_fast"])
def test_the_clean_output_of_the_hosts_sampler_stays_whole(
    sampler_name, small, models, windows, run_node, shown, monkeypatch, module_of
):
    """denoised_output of SamplerCustomAdvanced is what its callback was shown last."""

    def run():
        sampler = run_node("KSamplerSelect", sampler_name=sampler_name)[0]
        model = models["eps"]
        roles = {"positive": small.conditioning(1), "negative": small.conditioning(2), "cfg": 4.0}
        return run_node(
            "SamplerCustomAdvanced",
            noise=run_node("RandomNoise", noise_seed=3)[0],
            guider=run_node("CFGGuider", model=model, **roles)[0],
            sampler=run_node("SyncDiffusionSampler", windows=windows(64, 64), sampler=sampler)[0],
            sigmas=run_node("BasicScheduler", model=model, scheduler="normal", steps=3, denoise=1.0)[0],
            latent_image=small.empty_latent(192, 64),
        )

    wanted = run()
    monkeypatch.setattr(module_of("host.previews"), "LONGEST", 12)
    got = run()
    assert shown[-2:] == [(1, 4, 4, 12), (1, 4, 8, 24)]
    assert all(torch.equal(ours["samples"], theirs["samples"]) for ours, theirs in zip(got, wanted, strict=True))
