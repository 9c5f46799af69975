"""Frechet distance of two sets of images (FID when the features are Inception's)."""

from torch import Tensor, nn

from .features import check_features


class _Stored(nn.Module):
    """Stands where torchmetrics expects a network: what goes in is features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """|mu - mu_r|^2 + tr(S + S_r - 2 (S S_r)^(1/2)) of the Gaussians fitted to [N, D] and [M, D].

    Squared feature units, in [0, inf) up to rounding; lower is better. Biased upwards for few rows, so compare only
    at equal N and M. S is the covariance with N - 1 below. Source: Heusel et al., NeurIPS 2017, Eq. 6, by
    torchmetrics' FrechetInceptionDistance in float64.
    """
    check_features(features, reference, at_least=2)
    from torchmetrics.image.fid import FrechetInceptionDistance  # a bench's package: only when a figure is asked for

    metric = FrechetInceptionDistance(feature=_Stored(features.shape[1])).to(features.device)
    metric.update(reference.double(), real=True)
    metric.update(features.double(), real=False)
    return float(metric.compute())
