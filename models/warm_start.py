"""The warm-start model h: mean and standard deviation of the weather one time step ahead."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models.unet import UNet

Fields = Float[Tensor, "member channel lat lon"]


class WarmStart(nn.Module):
    """h(C) → μ, σ in normalised units.

    The mean is the newest frame (the first channels of the context) plus what the network adds; the standard
    deviation is softplus, never below `std_floor`. At initialisation the mean is the newest frame exactly.
    Source: Scholz & Turner, §3; docs/method.md §1.
    """

    def __init__(self, net: UNet, num_variables: int, std_floor: float) -> None:
        super().__init__()
        self.net = net
        self.num_variables = num_variables
        self.std_floor = std_floor

    def forward(self, context: Float[Tensor, "member context lat lon"]) -> tuple[Fields, Fields]:
        """Return the mean and the standard deviation, each (member, variable, lat, lon)."""
        change, raw = self.net(context).split(self.num_variables, dim=1)
        mean = context[:, : self.num_variables] + change
        return mean, F.softplus(raw).clamp(min=self.std_floor)


def gaussian_nll(target: Fields, mean: Fields, std: Fields) -> Float[Tensor, ""]:
    """Return the mean over all elements of −log N(target | mean, std²), constant included.

    Source: Scholz & Turner, Eq. 5.
    """
    return (0.5 * ((target - mean) / std) ** 2 + std.log()).mean() + 0.5 * math.log(2 * math.pi)


def normalised_residual(target: Fields, mean: Fields, scale: Fields) -> Fields:
    """Return x_1 = (x − μ) / scale, what the flow has to generate."""
    return (target - mean) / scale


def restore(x_1: Fields, mean: Fields, scale: Fields) -> Fields:
    """Return x = x_1 · scale + μ, the inverse of `normalised_residual`."""
    return torch.addcmul(mean, x_1, scale)
