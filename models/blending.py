"""Eq. 4 of the paper: how warmth blends the warm start's standard deviation with one."""

import torch
from jaxtyping import Float
from torch import Tensor


def blend_scale(
    std: Float[Tensor, "member channel lat lon"], warmth: Float[Tensor, " batch"]
) -> Float[Tensor, "member channel lat lon"]:
    """Return the scale that the residual is divided by.

    w·max(σ, 1−w) + (1−w), element by element, in normalised units; w in [0, 1] is one number a member, or one for all.
    At w = 1 it is σ, at w = 0 it is 1, and for w ≤ 1−σ it is 1−w² whatever σ is.
    Source: Scholz & Turner, Eq. 4.
    """
    w = warmth[:, None, None, None]
    return w * torch.maximum(std, 1 - w) + (1 - w)
