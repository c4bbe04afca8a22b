"""Averages of fields over samples, variables and the globe."""

from models.shapes import Fields, RowWeights, Scalar


def weighted_mean(values: Fields, weights: RowWeights | None) -> Scalar:
    """Return the mean over all elements, each latitude with its weight if there are `weights`."""
    return values.mean() if weights is None else (values * weights).mean()
