"""Where clean predictions agree: in latents, and in pictures against a transcription that goes view by view."""

from dataclasses import replace

import core_toys as toys
import pytest
import torch
import torch.nn.functional as F

from syncdiffusion_core.agreement import LATENTS, PictureAgreement, filled
from syncdiffusion_core.batching import WindowBatches
from syncdiffusion_core.blending import Blend, window_weight
from syncdiffusion_core.canvases.windows import Windows
from syncdiffusion_core.process import rectified_flow, variance_exploding
from syncdiffusion_core.sampling import Method, sample
from syncdiffusion_core.strategies import STRATEGIES, Synchronisation, refuse_pictures
from syncdiffusion_core.views.schedule import Still
from syncdiffusion_core.views.view_set import aggregate

SCALE, SIDE, CANVAS = 2, 6, (6, 14)
ORIGINS = ((0, 0), (0, 4), (0, 8), (0, 12))  # the last one over the edge
TO_PICTURE, TO_LATENT = toys.randn(3, 4, seed=11) / 8, toys.randn(4, 3, seed=12)
BACK = 0.3 * toys.randn(4, 3, 3, 3, seed=13)


def linear_decode(x0):
    """A picture about grey; it leaves [0, 1] nowhere here."""
    return 0.5 + torch.einsum("pc,rchw->rphw", TO_PICTURE.to(x0), F.interpolate(x0, scale_factor=SCALE)) / 4


def linear_encode(picture):
    return torch.einsum("cp,rphw->rchw", TO_LATENT.to(picture), F.avg_pool2d(picture, SCALE) - 0.5)


def bent_encode(picture):
    return F.conv2d(picture, BACK.to(picture), stride=SCALE, padding=1).tanh()


CODECS = {"linear": (linear_decode, linear_encode), "bent": (toys.smooth_decode, bent_encode)}
CODEC = pytest.mark.parametrize("codec", CODECS)
RESIDUAL = pytest.mark.parametrize("residual", [True, False])


def windows(blend=Blend.UNIFORM, origins=ORIGINS, canvas=CANVAS) -> Windows:
    return Windows(canvas, (SIDE, SIDE), origins, blend)


def agreement(views, codec="bent", size=1, residual=True, scale=SCALE) -> PictureAgreement:
    decode, encode = CODECS[codec] if isinstance(codec, str) else codec
    return PictureAgreement(decode, encode, views.scaled(scale), WindowBatches.of(size), residual)


def predictions(views, n=2, seed=0):
    """Clean predictions that agree about nothing, view-major."""
    return toys.randn(len(views) * n, 4, *views.view, seed=seed)


# The transcription: one sample, one view, one place at a time.


def mean_of(parts, origins, canvas, weight):
    """Views pasted on a canvas, by their weight."""
    total, count = (torch.zeros(1, parts[0].shape[1], *canvas, dtype=torch.float64) for _ in range(2))
    for part, origin in zip(parts, origins, strict=True):
        toys.paste(total, origin, weight * part)
        toys.paste(count, origin, weight.expand_as(part))
    return total / count


def transcription(x0, views, codec, residual, n):
    """(A(g(D(x0))) in [-1, 1], F(x0)): x0_i <- E(f_i(A(g(D(x0))))) + f_i(A(g(x0 - E(D(x0)))))."""
    decode, encode = CODECS[codec]
    weight, fine = (window_weight(views.blend, side, side).double() for side in (SIDE, SCALE * SIDE))
    finely = [(SCALE * top, SCALE * left) for top, left in views.origins]
    pictures, agreed = [], torch.empty_like(x0)
    for sample_ in range(n):
        own = [x0[[view * n + sample_]] for view in range(len(views))]
        seen = [decode(x) for x in own]
        picture = mean_of(seen, finely, [SCALE * side for side in views.canvas], fine)
        lost = mean_of([x - encode(s) for x, s in zip(own, seen, strict=True)], views.origins, views.canvas, weight)
        for view, (origin, at) in enumerate(zip(views.origins, finely, strict=True)):
            again = encode(toys.crop(picture, at, (SCALE * SIDE,) * 2).clamp(0, 1))
            if residual:
                again = again + toys.crop(lost, origin, (SIDE, SIDE))
            agreed[view * n + sample_] = again[0]
        pictures.append(2 * picture - 1)
    return torch.cat(pictures), agreed


@CODEC
@RESIDUAL
@pytest.mark.parametrize("blend", list(Blend))
def test_views_agree_in_one_picture(codec, residual, blend):
    views, n = windows(blend), 2
    x0 = predictions(views, n)
    picture, agreed = transcription(x0, views, codec, residual, n)
    tolerance = 1e-12 if blend is Blend.UNIFORM else 1e-6  # the core keeps blending weights in float32
    kept = agreement(views, codec, residual=residual)
    torch.testing.assert_close(kept.views(views, x0), agreed, rtol=0, atol=tolerance)
    torch.testing.assert_close(kept.canvas(views, x0), picture, rtol=0, atol=tolerance)
    assert torch.equal(kept.result(views, x0), kept.canvas(views, x0))
    # The comparisons mean something: pictures are no latents, and what the codec loses is not nothing.
    if codec == "bent":
        assert toys.report_difference(agreed, LATENTS.views(views, x0)) > 1e-2
    _, other = transcription(x0, views, codec, not residual, n)
    assert toys.report_difference(agreed, other) > 1e-2


def test_a_light_codec_makes_views_agree_and_the_other_decodes_their_canvas():
    views = windows(Blend.FEATHERED)
    x0 = predictions(views)
    light, full = (agreement(views, codec) for codec in ("linear", "bent"))
    both = replace(light, bake=full.decode)
    assert torch.equal(both.views(views, x0), light.views(views, x0))
    assert torch.equal(both.result(views, x0), full.result(views, x0))


def test_a_picture_that_leaves_its_range_is_clamped_before_it_is_encoded():
    """On the canvas it is kept as it is: only the encoder is given what it knows."""
    views = windows()
    x0 = 40 * predictions(views)
    picture, agreed = transcription(x0, views, "linear", True, 2)
    assert picture.abs().max() > 1.5
    kept = agreement(views, "linear")
    torch.testing.assert_close(kept.canvas(views, x0), picture, rtol=0, atol=1e-11)
    torch.testing.assert_close(kept.views(views, x0), agreed, rtol=0, atol=1e-11)


@CODEC
@RESIDUAL
@pytest.mark.parametrize("size", [2, 3, 4, 16])
def test_batches_change_nothing(codec, residual, size):
    views = windows(Blend.FEATHERED)
    x0 = predictions(views, 3)
    one, got = (agreement(views, codec, batch, residual) for batch in (1, size))
    torch.testing.assert_close(got.views(views, x0), one.views(views, x0), rtol=0, atol=1e-12)
    torch.testing.assert_close(got.canvas(views, x0), one.canvas(views, x0), rtol=0, atol=1e-12)


class Counted:
    """A codec that remembers how many rows it was given at once, and runs out of memory above a limit."""

    def __init__(self, limit=10**9) -> None:
        self.limit, self.decoded, self.encoded = limit, [], []

    def _noted(self, rows, calls):
        if rows > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        calls.append(rows)

    def decode(self, x0):
        self._noted(len(x0), self.decoded)
        return toys.smooth_decode(x0)

    def encode(self, picture):
        self._noted(len(picture), self.encoded)
        return bent_encode(picture)


@RESIDUAL
@pytest.mark.parametrize(("size", "calls"), [(1, 7), (2, 4), (3, 3), (7, 1), (16, 1)])
def test_the_codec_never_sees_more_than_a_batch(residual, size, calls):
    """Pictures are held for a batch; seven views of two samples, levelled batches, each view once and once again."""
    views, n = windows(origins=tuple((0, 2 * k) for k in range(7))), 2
    codec = Counted()
    agreement(views, (codec.decode, codec.encode), size, residual).views(views, predictions(views, n))
    assert len(codec.decoded) == calls
    assert len(codec.encoded) == calls * (1 + residual)
    assert max(codec.decoded + codec.encoded) <= size * n
    assert 7 * n <= sum(codec.decoded) <= (7 + calls) * n  # the last batch may be filled up
    codec = Counted()
    agreement(views, (codec.decode, codec.encode), size, residual).canvas(views, predictions(views, n))
    assert (len(codec.decoded), codec.encoded) == (calls, [])


@RESIDUAL
@pytest.mark.parametrize("limit", [2, 4, 6])
def test_an_agreement_that_runs_out_of_memory_is_the_same(residual, limit):
    """What was summed before the failed batch is not summed again."""
    views = windows()
    x0, codec, sizes = predictions(views), Counted(limit), WindowBatches(4)
    got = agreement(views, (codec.decode, codec.encode), sizes, residual).views(views, x0)
    torch.testing.assert_close(got, agreement(views, "bent", 1, residual).views(views, x0), rtol=0, atol=1e-12)
    assert 2 * sizes.size <= limit


def test_samples_do_not_see_each_other():
    views, n = windows(), 3
    x0, kept = predictions(views, n), agreement(views)
    together = kept.views(views, x0).unflatten(0, (-1, n))
    for k in range(n):
        alone = kept.views(views, x0.unflatten(0, (-1, n))[:, k])
        torch.testing.assert_close(together[:, k], alone, rtol=0, atol=1e-12)


def test_views_of_a_step_are_found_among_all_by_their_names():
    """Pixels are made once, for all views; some of them, in any order, agree as if there were no others."""
    every, order = windows(), (2, 0, 3)
    some = windows(origins=tuple(ORIGINS[k] for k in order))
    x0 = predictions(some)
    kept = agreement(every)
    torch.testing.assert_close(kept.views(every.subset(order), x0), agreement(some).views(some, x0), rtol=0, atol=1e-12)
    # Names survive a subset of a subset.
    twice = every.subset((3, 2, 1, 0)).subset((1, 3, 0))
    assert twice.names == order
    torch.testing.assert_close(kept.canvas(twice, x0), agreement(some).canvas(some, x0), rtol=0, atol=1e-12)


def test_latents_with_a_time_axis():
    views = windows()
    x0 = predictions(views)
    timed = (lambda x: toys.smooth_decode(x[:, :, 0]), lambda picture: bent_encode(picture)[:, :, None])
    got = agreement(views, timed, 2).views(views, x0[:, :, None])
    assert got.shape == (*x0.shape[:2], 1, *x0.shape[2:])
    torch.testing.assert_close(got[:, :, 0], agreement(views).views(views, x0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_latents_come_back_in_their_own_precision(dtype):
    views = windows()
    x0 = predictions(views).to(dtype)
    codec = (lambda x: toys.smooth_decode(x.float()), bent_encode)
    got = agreement(views, codec).views(views, x0)
    assert got.dtype == dtype
    # All sums are in float32, of latents as they are.
    wanted = transcription(x0.double(), views, "bent", True, 2)[1]
    torch.testing.assert_close(got, wanted.to(dtype), rtol=0, atol=1e-5 if dtype is torch.float32 else 3e-2)


def test_a_codec_without_bends_is_agreement_in_latents():
    """E and D are linear, and windows only move what they map: what they lose and what they keep are averaged alike."""
    views = windows()
    x0 = predictions(views)
    got = agreement(views, "linear").views(views, x0)
    torch.testing.assert_close(got, LATENTS.views(views, x0), rtol=0, atol=1e-12)


# Codecs that lose nothing, or everything.


@pytest.mark.parametrize("blend", list(Blend))
@RESIDUAL
def test_an_identity_codec_is_agreement_in_latents(blend, residual):
    """Latents that are pictures, in [-1, 1]: the two are one."""
    views = windows(blend)
    x0 = predictions(views)[:, :3].tanh()
    identity = (lambda x: (x + 1) / 2, lambda picture: 2 * picture - 1)
    kept = agreement(views, identity, 2, residual, scale=1)
    torch.testing.assert_close(kept.views(views, x0), LATENTS.views(views, x0), rtol=0, atol=1e-6)
    torch.testing.assert_close(kept.canvas(views, x0), LATENTS.canvas(views, x0), rtol=0, atol=1e-6)


def test_a_codec_that_loses_everything_leaves_agreement_in_latents():
    """A grey picture, an encoder that says nothing, in less than the latents' precision: all of x0 is what is lost."""
    views = windows()
    x0 = predictions(views)
    blind = (lambda x: torch.full((len(x), 3, 12, 12), 0.5).to(x), lambda picture: torch.zeros(len(picture), 4, 6, 6))
    torch.testing.assert_close(agreement(views, blind).views(views, x0), LATENTS.views(views, x0), rtol=0, atol=1e-12)
    assert agreement(views, blind, residual=False).views(views, x0).abs().max() == 0


@CODEC
def test_views_of_one_picture_stay_where_the_codec_knows_them(codec):
    """What agrees in pictures and is what its pictures encode to, is left alone."""
    views = windows(origins=((0, 0),))
    encode = CODECS[codec][1]
    x0 = encode(toys.randn(2, 3, SCALE * SIDE, SCALE * SIDE).sigmoid())
    kept = agreement(views, codec)
    torch.testing.assert_close(kept.views(views, x0), x0, rtol=0, atol=1e-12)


# Views that are no crops.


class Negatives:
    """Every second view shows the canvas as a negative: there are views of pictures that latents know nothing of."""

    def __init__(self, windows, names=None) -> None:
        self.windows, self.names = windows, windows.names if names is None else names
        self.canvas, self.view = windows.canvas, windows.view

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def sign(self):
        return torch.tensor([1.0 - 2 * (name % 2) for name in self.names])

    def _signed(self, views):
        signs = self.sign.to(views).repeat_interleave(len(views) // len(self))
        return views * signs.reshape(-1, *[1] * (views.ndim - 1))

    def project(self, canvas):
        return self._signed(self.windows.project(canvas))

    def unproject(self, views):
        return self.windows.unproject(self._signed(views))

    def coverage(self):
        return self.windows.coverage()

    def subset(self, numbers):
        return Negatives(self.windows.subset(numbers), tuple(self.names[number] for number in numbers))


@pytest.mark.parametrize("size", [1, 2, 16])
def test_a_negative_in_grey_and_a_positive_agree(size):
    """A canvas of pictures is in [-1, 1]: negated there, a picture and its negative are one canvas."""
    places = windows()
    picture = toys.randn(2, 3, *(SCALE * side for side in CANVAS)).tanh()
    pixels = Negatives(places.scaled(SCALE))
    codec = (lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, -2), lambda p: F.avg_pool2d(p, SCALE))
    coarse = F.avg_pool2d(picture, SCALE)
    x0 = (Negatives(places).project(coarse) + 1) / 2  # latents in which a negative is no negative number
    kept = PictureAgreement(*codec, pixels, WindowBatches(size), residual=False)
    wanted = coarse.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(kept.canvas(places, x0), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(kept.views(places, x0), x0, rtol=0, atol=1e-12)


# In latents.


def test_agreement_in_latents_is_the_mean_and_what_each_view_sees_of_it():
    views = windows(Blend.GAUSSIAN)
    x = predictions(views)
    assert torch.equal(LATENTS.canvas(views, x), aggregate(views, x))
    assert torch.equal(LATENTS.views(views, x), views.project(aggregate(views, x)))
    assert torch.equal(LATENTS.result(views, x), aggregate(views, x))
    assert (LATENTS.in_latents, agreement(views).in_latents) == (True, False)


def test_results_have_no_holes():
    """Columns 6 and 7 are nobody's: they are their neighbours', in latents and in pictures."""
    views = windows(origins=((0, 0), (0, 8)))
    x0 = predictions(views)
    canvas, whole = LATENTS.canvas(views, x0), LATENTS.result(views, x0)
    assert canvas[..., 6:8].abs().max() == 0
    assert torch.equal(whole[..., 6:8], canvas[..., [5, 8]])
    assert torch.equal(whole[..., [*range(6), *range(8, 14)]], canvas[..., [*range(6), *range(8, 14)]])
    assert torch.equal(filled(views, canvas), whole)
    kept = agreement(views)
    picture, full = kept.canvas(views, x0), kept.result(views, x0)
    assert picture[..., 12:16].abs().max() == 0
    assert torch.equal(full[..., 12:16], picture[..., [11, 11, 16, 16]])
    covered = views.scaled(SCALE).coverage() > 0
    assert torch.equal(full[..., covered], picture[..., covered])


# In a run.


def test_a_run_of_pictures_is_synctweedies_and_ends_with_the_picture():
    """By the loop written out: x <- psi(x, F(x0)); at its end the canvas is the picture of what the model said."""
    views, sigmas = windows(), [4.0, 1.5, 0.4, 0.0]
    kept, process = agreement(views, size=2), variance_exploding()
    x = state = 4.0 * predictions(views)
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        x0 = toys.eps_denoiser(x, sigma, toys.Rows.grid(2, views.names))
        agreed = transcription(x0, views, "bent", True, 2)[1]
        x = agreed + following / sigma * (x - agreed)
    method = Method(Synchronisation.SYNCTWEEDIES, agreement=kept, batches=3)
    got = sample(toys.eps_denoiser, process, Still(views), state, sigmas, method)
    torch.testing.assert_close(got.views, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(got.x0, x0, rtol=0, atol=1e-9)
    torch.testing.assert_close(got.canvas, transcription(x0, views, "bent", True, 2)[0], rtol=0, atol=1e-9)


def test_a_run_that_stops_early_shows_the_picture_of_what_the_model_said():
    """Noisy latents have no picture."""
    views, kept = windows(), agreement(windows())
    method = Method(Synchronisation.SYNCTWEEDIES, agreement=kept)
    got = sample(toys.eps_denoiser, variance_exploding(), Still(views), 4.0 * predictions(views), [4.0, 1.5], method)
    assert torch.equal(got.canvas, kept.result(views, got.x0))


REFUSED = [s for s in Synchronisation if s is not Synchronisation.SYNCTWEEDIES]


@pytest.mark.parametrize("synchronisation", REFUSED)
def test_noisy_states_cannot_agree_in_pictures(synchronisation):
    views = windows()
    words = f"'{synchronisation.value}' keeps or averages noisy latents.* choose 'synctweedies', or let .* in latents"
    with pytest.raises(ValueError, match=words):
        refuse_pictures(synchronisation, agreement(views))
    never = None  # the model is not asked
    state = STRATEGIES[synchronisation].start(views, toys.randn(2, 4, *CANVAS))
    with pytest.raises(ValueError, match=words):
        sample(never, rectified_flow(), Still(views), state, [1.0, 0.0], Method(synchronisation, agreement(views)))


def test_what_is_clean_may_agree_anywhere():
    refuse_pictures(Synchronisation.SYNCTWEEDIES, agreement(windows()))
    for synchronisation in Synchronisation:
        refuse_pictures(synchronisation, LATENTS)
