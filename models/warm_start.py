"""The warm-start model h: mean and standard deviation of the weather one time step ahead, and the residual from it."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from models.averages import weighted_mean
from models.grid_network import GridNetwork
from models.shapes import Context, Fields, RowWeights, Scalar, Warmth


class WarmStart(nn.Module):
    """h(C) → μ, σ in normalised units.

    The mean is the newest frame (the first channels of the context) plus an output of the network; the standard
    deviation is the softplus of another, never below `std_floor`. Before training the mean is exactly the newest frame.
    Source: Scholz & Turner, §3; docs/method.md §1.
    """

    def __init__(self, net: GridNetwork, num_variables: int, std_floor: float) -> None:
        super().__init__()
        self.net = net
        self.num_variables = num_variables
        self.std_floor = std_floor

    def forward(self, context: Context) -> tuple[Fields, Fields]:
        """Return the mean and the standard deviation; both have the data type of the context."""
        change, raw = self.net(context).to(context.dtype).split(self.num_variables, dim=1)
        mean = context[:, : self.num_variables] + change
        return mean, F.softplus(raw).clamp(min=self.std_floor)


def gaussian_nll(target: Fields, mean: Fields, std: Fields, area_weights: RowWeights | None = None) -> Scalar:
    """Return the mean over all elements of −log N(target | mean, std²), constant included.

    With `area_weights` each latitude has its weight; their mean is 1.
    Source: Scholz & Turner, Eq. 5.
    """
    values = 0.5 * ((target - mean) / std) ** 2 + std.log()
    return weighted_mean(values, area_weights) + 0.5 * math.log(2 * math.pi)


def blend_scale(std: Fields, warmth: Warmth) -> Fields:
    """Return the scale that divides the residual: the warm start's standard deviation σ blended with 1 by warmth w.

    w·max(σ, 1−w) + (1−w), element by element, in normalised units.
    At w = 1 it is σ, at w = 0 it is 1, and for w ≤ 1−σ it is 1−w², independent of σ.
    Source: Scholz & Turner, Eq. 4.
    """
    w = warmth[:, None, None, None]
    return w * torch.maximum(std, 1 - w) + (1 - w)


def normalised_residual(target: Fields, mean: Fields, scale: Fields) -> Fields:
    """Return x_1 = (x − μ) / scale, the target of the flow."""
    return (target - mean) / scale


def restore(x_1: Fields, mean: Fields, scale: Fields) -> Fields:
    """Return x = x_1 · scale + μ, the inverse of `normalised_residual`."""
    return torch.addcmul(mean, x_1, scale)
