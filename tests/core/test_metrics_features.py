"""Figures on stored features against outside implementations and closed forms."""

import core_toys as toys
import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from torch import nn

from syncdiffusion_core.metrics.clip_score import clip_score
from syncdiffusion_core.metrics.frechet import frechet_distance
from syncdiffusion_core.metrics.giqa import giqa
from syncdiffusion_core.metrics.kernel import KernelDistance


class PassThrough(nn.Module):
    """Features in place of images, for torchmetrics."""

    num_features = 4

    def forward(self, features):
        return features


def samples(count=40, width=4, seed=0):
    """Correlated features with a mean."""
    return toys.randn(count, width, seed=seed) @ toys.randn(width, width, seed=90) + toys.randn(width, seed=91)


@pytest.mark.parametrize("figure", [giqa, frechet_distance, KernelDistance])
def test_tables_of_two_networks_are_refused(figure):
    with pytest.raises(ValueError, match="features and reference have to come from one network, got 4 and 3 columns"):
        figure(samples(), toys.randn(40, 3))
    with pytest.raises(ValueError, match=r"features has to be a table \[rows, D\], got shape \(4,\)"):
        figure(toys.randn(4), samples())


@pytest.mark.parametrize("figure", [frechet_distance, KernelDistance])
@pytest.mark.parametrize(("rows", "of_reference", "named"), [(1, 5, "features"), (5, 1, "reference")])
def test_one_row_is_no_distribution(figure, rows, of_reference, named):
    with pytest.raises(ValueError, match=f"{named} has to have at least 2 rows, got 1"):
        figure(samples(rows), samples(of_reference, seed=1))


# GIQA.


def test_giqa_in_numbers():
    """L1 distances 3, 7 and 13 in the plane: 1/3 + 1/7 with two neighbours."""
    reference = torch.tensor([[6.0, 7.0], [1.0, 2.0], [-3.0, 4.0]])
    origin = torch.zeros(1, 2)
    assert giqa(origin, reference, k=2).tolist() == pytest.approx([1 / 3 + 1 / 7])
    assert giqa(origin, reference, k=3).tolist() == pytest.approx([1 / 3 + 1 / 7 + 1 / 13])


def test_giqa_is_the_released_codes():
    """Row by row: torch's pairwise distance with p = 1, sorted, the inverse of the first eight summed."""
    features, reference = samples(5), samples(seed=1)
    expected = []
    for feature in features:
        distances = F.pairwise_distance(feature.repeat(len(reference), 1), reference, p=1).tolist()
        expected.append(sum(1 / distance for distance in sorted(distances)[:8]))
    assert giqa(features, reference).tolist() == pytest.approx(expected, rel=1e-5)


def test_giqa_is_higher_the_nearer():
    reference = samples()
    scores = [giqa(samples(seed=1) + shift, reference).mean() for shift in (0, 1, 10)]
    assert scores[0] > scores[1] > scores[2] > 0


@pytest.mark.parametrize("k", [0, 41])
def test_giqa_needs_as_many_neighbours_as_it_counts(k):
    with pytest.raises(ValueError, match=f"k has to be from 1 to the 40 rows of reference, got {k}"):
        giqa(samples(2, seed=1), samples(), k)


def test_giqa_refuses_its_own_reference():
    with pytest.raises(ValueError, match="3 rows of features are in reference too"):
        giqa(samples()[:3], samples())


# Frechet.


def test_the_frechet_distance_is_scipys():
    one, other = samples(50), samples(60, seed=1) * 1.5
    covariances = [np.cov(table.numpy(), rowvar=False) for table in (one, other)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = ((one.mean(0) - other.mean(0)) ** 2).sum()
    expected = float(means) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(one.float(), other.float()) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-5)


def test_the_frechet_distance_of_fewer_rows_than_features():
    """By the symmetric root, which needs no rank: tr (S^1/2 R S^1/2)^1/2 is the sum of the roots of eigenvalues."""
    one, other = toys.randn(5, 12), toys.randn(6, 12, seed=1)
    s, r = (torch.cov(table.T) for table in (one, other))
    values, vectors = torch.linalg.eigh(s)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ r @ root).clamp(min=0).sqrt().sum()
    expected = (one.mean(0) - other.mean(0)).square().sum() + s.trace() + r.trace() - 2 * cross
    assert frechet_distance(one, other) == pytest.approx(float(expected), rel=1e-5)


def test_the_frechet_distance_of_a_shift_and_of_a_scale():
    """A shift d gives |d|^2; one feature scaled from deviation s to t gives (s - t)^2."""
    one = samples()
    assert frechet_distance(one, one + torch.tensor([1.0, 2.0, 0.0, -2.0])) == pytest.approx(9.0, rel=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-6)
    column = toys.randn(30, 1)
    column = (column - column.mean()) / column.std()
    assert frechet_distance(2 * column, 5 * column) == pytest.approx(9.0, rel=1e-6)


# Kernel.


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning:torchmetrics")
def test_the_kernel_distance_is_torchmetrics():
    from torchmetrics.image.kid import KernelInceptionDistance

    one, other = samples(), samples(seed=1) * 1.2
    metric = KernelInceptionDistance(feature=PassThrough(), subsets=1, subset_size=len(one))
    metric.update(other, real=True)
    metric.update(one, real=False)
    expected = float(metric.compute()[0])
    distance = KernelDistance(one, other)
    assert distance.of() == pytest.approx(expected, rel=1e-5)


def test_the_kernel_distance_in_numbers():
    """D = 1, k = (a b + 1)^3: features 1, 2 and references 0, 1: 27 + 1 - 2 (1 + 8 + 1 + 27) / 4 = 9.5."""
    distance = KernelDistance(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0]]))
    assert distance.of() == pytest.approx(9.5)


def test_resampled_rows_are_those_rows_alone():
    one, other = samples(12), samples(20, seed=1)
    draws = torch.tensor([[7, 2, 3, 11, 0], [1, 0, 2, 9, 5]])
    alone = [KernelDistance(one[rows], other).of() for rows in draws]
    assert KernelDistance(one, other).resampled(draws).tolist() == pytest.approx(alone, rel=1e-9)


def test_copies_of_a_row_are_no_pair():
    """Rows 0, 0, 1: the only pairs of two images are 0 with 1, four times over; the cross term counts 0 twice."""
    one, other = samples(3), samples(20, seed=1)

    def kernel(a, b):
        return (float(a @ b) / 4 + 1) ** 3

    cross = [sum(kernel(row, r) for r in other) / 20 for row in one]
    reference = sum(kernel(other[i], other[j]) for i in range(20) for j in range(20) if i != j) / (20 * 19)
    expected = kernel(one[0], one[1]) + reference - 2 * (2 * cross[0] + cross[1]) / 3
    assert KernelDistance(one, other).resampled(torch.tensor([[0, 0, 1]])).item() == pytest.approx(expected, rel=1e-9)


def test_copies_of_one_row_are_no_sample():
    assert KernelDistance(samples(), samples(seed=1)).resampled(torch.tensor([[2, 2]])).isnan().all()


def biased_kernel_distance(one, other):
    """With every row's pair with itself."""

    def mean(a, b):
        return float(((a @ b.T / a.shape[1] + 1) ** 3).mean())

    return mean(one, one) + mean(other, other) - 2 * mean(one, other)


def test_the_kernel_distance_is_0_on_average_for_one_distribution():
    """Few rows, so that the biased estimate's excess stands far above the error of the mean."""
    draws = [(toys.randn(6, 4, seed=2 * k), toys.randn(8, 4, seed=2 * k + 1)) for k in range(600)]
    values = torch.tensor([KernelDistance(*draw).of() for draw in draws])
    error = float(values.std()) / 600**0.5
    assert abs(float(values.mean())) < 4 * error
    assert float(values.min()) < 0
    assert sum(biased_kernel_distance(*draw) for draw in draws) / 600 > 20 * error
    assert KernelDistance(toys.randn(50, 4), toys.randn(50, 4, seed=1) + 1).of() > 5 * float(values.std())


# CLIP score.


def test_the_clip_score_is_a_hundred_cosines_above_zero():
    image = torch.tensor([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]])
    assert clip_score(image, torch.tensor([[5.0, 0.0]])).tolist() == pytest.approx([60.0, 0.0, 0.0])
    assert clip_score(image, image * 7).tolist() == pytest.approx([100.0] * 3)


def test_the_clip_score_is_torchmetrics(monkeypatch):
    """Its functional form on a model and a processor that hand out stored features, one image a time."""
    from torchmetrics.functional.multimodal.clip_score import clip_score as outside

    image, text = toys.randn(6, 16), toys.randn(6, 16, seed=1)
    got = clip_score(image, text).tolist()
    for k in range(6):

        class Stored(nn.Module):
            config = None

            def get_image_features(self, pixels, k=k):
                return image[k : k + 1]

            def get_text_features(self, ids, mask, k=k):
                return text[k : k + 1]

        def processor(**inputs):
            return {name: torch.zeros(1, 2) for name in ("pixel_values", "input_ids", "attention_mask")}

        pair = (Stored(), processor)
        expected = outside(torch.zeros(3, 8, 8), "words", model_name_or_path=lambda pair=pair: pair)
        assert got[k] == pytest.approx(float(expected), rel=1e-5)
    assert min(got) == 0.0
    assert max(got) > 1


@pytest.mark.parametrize("text", [toys.randn(2, 4), toys.randn(3, 5), toys.randn(4)])
def test_the_clip_score_wants_a_prompt_for_each_image_or_one_for_all(text):
    with pytest.raises(ValueError, match="embed one prompt for each image, or one for all"):
        clip_score(toys.randn(3, 4), text)
