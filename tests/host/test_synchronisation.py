"""The Panorama Sampler's synchronisation: what is averaged over the windows."""

import pytest
import torch

FIVE = ("view_noise", "synctweedies", "multidiffusion", "canonical_noise", "canonical_clean")
FOUR = tuple(way for way in FIVE if way != "multidiffusion")


def close(got: torch.Tensor, wanted: torch.Tensor, part: float) -> bool:
    """Whether two agree to a part of the largest value."""
    return bool((got - wanted).abs().max() <= part * wanted.abs().max())


OF_NOISE = ("view_noise", "canonical_noise")
MODELS = {"eps": FOUR, "v": FOUR, "flow": tuple(way for way in FOUR if way not in OF_NOISE)}


@pytest.mark.parametrize(("kind", "ways"), MODELS.items())
@pytest.mark.parametrize("wrap", [False, True])
def test_windows_make_one_panorama_of_all_five(models, windows, panorama, kind, ways, wrap):
    layout = windows(64, 32, wrap_x=wrap)
    made = {way: panorama(models[kind], layout, steps=4, synchronisation=way)[0]["samples"] for way in ways}
    wanted = panorama(models[kind], layout, steps=4)[0]["samples"]
    apart = {way: samples for way, samples in made.items() if not close(samples, wanted, 1e-4)}
    assert not apart


@pytest.mark.parametrize("way", OF_NOISE)
def test_flow_models_begin_without_a_picture_in_the_noise(models, windows, panorama, way):
    with pytest.raises(ValueError, match="at sigma 1, where the state holds no signal; choose a strategy"):
        panorama(models["flow"], windows(64, 32), steps=4, synchronisation=way)
    samples = panorama(models["flow"], windows(64, 32), steps=4, denoise=0.7, synchronisation=way)[0]["samples"]
    assert samples.isfinite().all()


def test_from_a_picture_with_a_mask(models, windows, panorama):
    picture = torch.randn(1, 4, 8, 24, generator=torch.manual_seed(4))
    mask = torch.zeros(1, 64, 192)
    mask[..., 64:128] = 1
    given = {"latent_image": {"samples": picture, "noise_mask": mask}, "denoise": 0.7, "steps": 4}
    for way in FIVE:
        samples = panorama(models["eps"], windows(64, 32), synchronisation=way, **given)[0]["samples"]
        assert samples.isfinite().all()
        assert close(samples[..., :8], picture[..., :8], 1e-4), f"{way}: what the mask keeps has changed"


@pytest.mark.parametrize("way", FIVE)
def test_guided(models, windows, panorama, guidance, way):
    guide = guidance(weight=500.0, end_percent=1.0)
    given = {"steps": 3, "synchronisation": way}
    plain = panorama(models["eps"], windows(64, 32), **given)[0]["samples"]
    latent, trace = panorama(models["eps"], windows(64, 32), guidance=guide, **given)
    assert latent["samples"].isfinite().all()
    assert len(trace.splitlines()) == 3
    assert not close(latent["samples"], plain, 1e-3)


@pytest.mark.parametrize("way", FOUR)
class TestRefusals:
    """Each in a sentence that says what to do."""

    def test_other_samplers(self, models, windows, panorama, pack, way):
        words = f"synchronisation: '{way}' is defined for euler and ddim only; choose one of them, or 'multidiffusion'"
        with pytest.raises(ValueError, match=words):
            panorama(models["eps"], windows(64, 32), sampler_name="dpmpp_2m", synchronisation=way)
        told = pack["SyncDiffusionPanoramaSampler"].validate_inputs(sampler_name="dpmpp_2m", synchronisation=way)
        assert words in told

    @pytest.mark.parametrize(
        "algorithm", ["reference (Algorithm 1)", "host sampler", "sequential (Blended Latent Diffusion)"]
    )
    def test_other_algorithms(self, models, windows, panorama, way, algorithm):
        with pytest.raises(ValueError) as raised:
            panorama(models["eps"], windows(64, 32), algorithm=algorithm, synchronisation=way)
        words = f"synchronisation: the algorithm '{algorithm}' has its own and not '{way}'; choose the algorithm 'auto"
        assert words in str(raised.value)

    @pytest.mark.parametrize("grid", ["rolled", "alternating"])
    def test_moving_grids(self, models, windows, panorama, way, grid):
        layout, given = windows(64, 32, grid=grid, wrap_x=grid == "rolled"), {"steps": 2, "synchronisation": way}
        if way.startswith("canonical"):  # their state is the canvas
            assert panorama(models["eps"], layout, **given)[0]["samples"].isfinite().all()
            return
        with pytest.raises(ValueError, match=f"synchronisation: '{way}' keeps the windows as its state, and those"):
            panorama(models["eps"], layout, **given)
