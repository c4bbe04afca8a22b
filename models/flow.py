"""The flow-matching model p': a velocity for the normalised residual, and its training loss."""

from typing import Literal

import torch
from torch import Tensor, nn

from models.averages import weighted_mean
from models.grid_network import FixedInputs, GridNetwork
from models.layers import ScalarEmbedding
from models.paths import expand, gaussian_velocity, interpolate
from models.shapes import Context, Embedding, Fields, FlowTime, RowWeights, Scalar, Warmth

Preconditioning = Literal["gaussian", "none"]


class FlowNet(nn.Module):
    """v(x_t, t, w, C, μ, scale), the velocity of the normalised residual.

    The input is [x_t, C, μ, scale] with the scale of Eq. 4; the embeddings of flow time and warmth are summed.
    With `gaussian` preconditioning the network's output is added to the exact velocity of white Gaussian noise, and
    its input x_t is scaled to unit variance, so that an untrained network samples N(μ, scale²). This departs from the
    paper, whose code is `none` (docs/method.md §4).
    """

    def __init__(self, net: GridNetwork, preconditioning: Preconditioning) -> None:
        super().__init__()
        self.net = net
        self.preconditioning = preconditioning
        self.time_embedding = ScalarEmbedding(net.embedding_width, net.num_frequencies)
        self.warmth_embedding = ScalarEmbedding(net.embedding_width, net.num_frequencies)

    def forward(
        self, x_t: Fields, t: FlowTime, warmth: Warmth, context: Context, mean: Fields, scale: Fields
    ) -> Fields:
        """Return the velocity at `x_t` and flow time `t`."""
        return self.velocity(x_t, t, self.embed(t, warmth), self.precompute(context, mean, scale))

    def embed(self, t: FlowTime, warmth: Warmth) -> Embedding:
        """Return the sum of the embeddings of flow time and warmth."""
        embedding: Tensor = self.time_embedding(t) + self.warmth_embedding(warmth)
        return embedding

    def precompute(self, context: Context, mean: Fields, scale: Fields) -> FixedInputs:
        """Return what the inputs that do not depend on x_t and t contribute to every evaluation of a forecast step."""
        return self.net.precompute(torch.cat([context, mean, scale], dim=1))

    def velocity(self, x_t: Fields, t: FlowTime, embedding: Embedding, fixed: FixedInputs) -> Fields:
        """Return the velocity at `x_t` and flow time `t`, from the results of `embed` and `precompute`.

        It has the data type of `x_t`, also where the network is evaluated in a shorter one.
        """
        if self.preconditioning == "none":
            velocity: Tensor = self.net(x_t, embedding, fixed)
            return velocity.to(x_t.dtype)
        kappa = torch.sqrt(expand(t) ** 2 + (1 - expand(t)) ** 2)
        output: Tensor = self.net(x_t / kappa, embedding, fixed)
        return gaussian_velocity(x_t, t) + output.to(x_t.dtype) / kappa


def flow_matching_loss(
    net: FlowNet,
    x_0: Fields,
    x_1: Fields,
    t: FlowTime,
    warmth: Warmth,
    context: Context,
    mean: Fields,
    scale: Fields,
    area_weights: RowWeights | None = None,
) -> Scalar:
    """Return the mean squared difference between `net`'s velocity at x_t and x_1 − x_0, over all values.

    With `area_weights` each latitude has its weight; their mean is 1.

    x_t is the point at flow time `t` between `x_0`, noise, and `x_1`, the target. If targets are independent N(0, 1)
    values and the times come from `skewed_times`, no network gets below 1.539 on average (docs/method.md §4).
    Source: Scholz & Turner, Algorithm 1.
    """
    velocity: Tensor = net(interpolate(x_0, x_1, t), t, warmth, context, mean, scale)
    return weighted_mean((velocity - (x_1 - x_0)) ** 2, area_weights)
