"""View Transition: frames from a picture to one of its views, in the host."""

import pytest
import torch

NODE = "SyncDiffusionViewTransition"


@pytest.fixture
def views(run_node):
    def make(**inputs):
        return run_node("SyncDiffusionImageViews", **{"width": 64, "height": 64, **inputs})[0]

    return make


@pytest.fixture
def frames_of(run_node, views):
    """frames_of(image, spec, **inputs) -> frames."""

    def run(image: torch.Tensor, spec: object = None, **inputs) -> torch.Tensor:
        settings = {"frames": 5, "hold": 0, **inputs}
        return run_node(NODE, image=image, views=spec or views(), **settings)[0]

    return run


def an_image(count: int = 1, size: int = 64) -> torch.Tensor:
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(0))


def test_from_the_picture_to_the_view(frames_of):
    image = an_image()
    frames = frames_of(image)
    assert frames.shape == (5, 64, 64, 3)
    assert frames.is_contiguous()
    assert torch.equal(frames[0], image[0])
    assert torch.equal(frames[-1], image[0].flip(0, 1))
    assert not any(torch.equal(one, other) for one, other in zip(frames, frames[1:], strict=False))


def test_the_last_frame_is_what_image_views_draws(run_node, frames_of):
    image = an_image()
    kinds = {"view_1": "jigsaw", "view_2": "pixel permutation", "view_3": "inner circle", "view_4": "negate"}
    spec, maps, count = run_node("SyncDiffusionImageViews", width=64, height=64, picture=image, **kinds)
    for number in range(count):
        assert torch.equal(frames_of(image, spec, view=number + 1, frames=2)[-1], maps[number])


def test_hold_and_back(frames_of):
    image = an_image()
    still = frames_of(image, hold=3)
    assert len(still) == 3 + 5 + 3
    assert all(torch.equal(frame, still[0]) for frame in still[:4])
    assert all(torch.equal(frame, still[-1]) for frame in still[-4:])
    there_and_back = frames_of(image, hold=3, back=True)
    assert len(there_and_back) == 3 + 5 + 3 + 4 + 3
    assert torch.equal(there_and_back[: len(still)], still)
    assert torch.equal(there_and_back[10:], there_and_back[:8].flip(0))


def test_pictures_of_a_batch_follow_one_another(frames_of):
    image = an_image(2)
    frames = frames_of(image)
    assert torch.equal(frames[:5], frames_of(image[:1]))
    assert torch.equal(frames[5:], frames_of(image[1:]))


def test_easing(frames_of):
    even, smooth = (frames_of(an_image(), easing=easing) for easing in ("even", "smooth"))
    assert torch.equal(even[2], smooth[2])
    assert not torch.equal(even[1], smooth[1])


def test_an_enlarged_picture_moves_as_the_small_one(frames_of, views):
    """Every pixel two by two: so are its frames' ends, whatever the map depends on."""
    image, twice = an_image(), an_image().repeat_interleave(2, 1).repeat_interleave(2, 2)
    for kind in ("pixel permutation", "patch permutation", "rotate 90"):
        spec = views(view_2=kind)
        small, large = frames_of(image, spec, frames=2)[-1], frames_of(twice, spec, frames=2)[-1]
        assert torch.equal(large[::2, ::2], small)


def test_cell_size_is_the_models(frames_of, views):
    spec = views(view_2="pixel permutation")
    coarse, fine = (frames_of(an_image(), spec, frames=2, cell_size=px)[-1] for px in (8, 1))
    assert not torch.equal(coarse, fine)
    assert torch.equal(coarse.flatten().sort().values, fine.flatten().sort().values)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"view": 3}, "view: it must be between 1 and 2, the number of views, got 3"),
        ({"view": 0}, "view: it must be between 1 and 9999, got 0"),
        ({"image": an_image(size=96)}, "image: it is 96 x 96 px and the views are of 64 x 64 px; scale it"),
        ({"image": an_image(size=32)}, "image: it is 32 x 32 px"),
        ({"cell_size": 24}, "cell_size: 24 px do not divide a picture of 64 x 64 px"),
        ({"easing": "bouncy"}, "easing: it must be one of smooth, even"),
        ({"frames": 1}, "frames: it must be between 2 and 10000"),
    ],
)
def test_what_cannot_be_is_refused(frames_of, inputs, words):
    with pytest.raises(ValueError, match=words):
        frames_of(**{"image": an_image(), **inputs})


def test_windows_are_no_views_of_a_picture_as_a_whole(frames_of, windows):
    with pytest.raises(ValueError, match="views: only a picture that is seen in several ways .* WindowLayout"):
        frames_of(an_image(), windows(64, 32))


def test_it_can_be_interrupted(frames_of, host):
    import comfy.model_management

    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        frames_of(an_image())
