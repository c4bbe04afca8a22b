"""The straight (conditional optimal transport) path from noise to data.

Flow time `t` runs from 0 (the source, noise) to 1 (the target, data); 1 − t is the noise time of diffusion models.
`x_0` is the source, `x_1` the target, x_t = t·x_1 + (1−t)·x_0, so α_t = t and σ_t = 1−t. The velocity is x_1 − x_0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from models.shapes import Fields, FlowTime, Scalars


def expand(t: FlowTime) -> Float[Tensor, "batch 1 1 1"]:
    """Return `t` in a shape that broadcasts against fields."""
    return t[:, None, None, None]


def interpolate(x_0: Fields, x_1: Fields, t: FlowTime) -> Fields:
    """Return x_t = t·x_1 + (1−t)·x_0, the point at flow time `t` between source `x_0` and target `x_1`."""
    return expand(t) * x_1 + (1 - expand(t)) * x_0


def clean_from_velocity(velocity: Fields, x_t: Fields, t: FlowTime) -> Fields:
    """Return the expected target, x_t + (1−t)·v."""
    return x_t + (1 - expand(t)) * velocity


def noise_from_velocity(velocity: Fields, x_t: Fields, t: FlowTime) -> Fields:
    """Return the expected source, x_t − t·v."""
    return x_t - expand(t) * velocity


def gaussian_velocity(x_t: Fields, t: FlowTime) -> Fields:
    """Return the exact velocity where the target is white and N(0, 1): (2t−1)·x_t / (t² + (1−t)²).

    This is the whole velocity where the warm start is perfect; one midpoint step is then the identity
    (docs/method.md §3).
    """
    s = expand(t)
    return (2 * s - 1) / (s**2 + (1 - s) ** 2) * x_t


def skewed_times(normal: Scalars) -> FlowTime:
    """Return training flow times from standard normal draws: t = 1/(1+exp(1.2·z − 1.2)), clipped to [1e-4, 1].

    Source: EDM's noise law on the straight path, as the paper's code samples it (docs/method.md §4).
    """
    return torch.clamp(1 / (1 + torch.exp(1.2 * normal - 1.2)), 1e-4, 1.0)
