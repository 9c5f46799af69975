"""What every figure on stored features asks of them."""

from torch import Tensor


def check_features(features: Tensor, reference: Tensor, at_least: int) -> None:
    """ValueError unless features [N, D] and reference [M, D] are two tables of one network, N and M large enough."""
    for name, table in (("features", features), ("reference", reference)):
        if table.ndim != 2:
            raise ValueError(f"{name} has to be a table [rows, D], got shape {tuple(table.shape)}: a row per image")
        if len(table) < at_least:
            raise ValueError(f"{name} has to have at least {at_least} rows, got {len(table)}: embed more images")
    if features.shape[1] != reference.shape[1]:
        raise ValueError(
            f"features and reference have to come from one network, got {features.shape[1]} and "
            f"{reference.shape[1]} columns: embed both with the same one"
        )
