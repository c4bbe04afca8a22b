"""The scale of the residual, Eq. 4 of the paper."""

import torch

from models.shapes import Fields, Warmth


def blend_scale(std: Fields, warmth: Warmth) -> Fields:
    """Return the scale that divides the residual: the warm start's standard deviation σ blended with 1 by warmth w.

    w·max(σ, 1−w) + (1−w), element by element, in normalised units.
    At w = 1 it is σ, at w = 0 it is 1, and for w ≤ 1−σ it is 1−w², independent of σ.
    Source: Scholz & Turner, Eq. 4.
    """
    w = warmth[:, None, None, None]
    return w * torch.maximum(std, 1 - w) + (1 - w)
