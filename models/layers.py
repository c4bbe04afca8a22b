"""Layers of the U-Net: periodic convolutions, embeddings of scalars, residual blocks."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.padding import pad_longitude
from models.shapes import Embedding, Fields, Scalars


class PeriodicConv(nn.Module):
    """3 × 3 convolution, periodic in longitude, zero-padded in latitude; `GlobePadding` adds rows beyond the poles."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=(1, 0))

    def zero_parameters(self) -> None:
        """Set weights and bias to zero."""
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Fields) -> Tensor:
        """Return `x` convolved; the numbers of latitudes and longitudes are divided by `stride` and rounded up."""
        output: Tensor = self.conv(pad_longitude(x, 1))
        return output

    def contribution(self, x: Fields, first: int) -> Tensor:
        """Return what `x`, the input channels from index `first` on, contributes to the output.

        Contributions of all input channels sum to the output; that of the last input channel includes the bias.
        """
        last = first + x.shape[1]
        bias = self.conv.bias if last == self.conv.in_channels else None
        weight = self.conv.weight[:, first:last].contiguous(memory_format=torch.channels_last)
        return F.conv2d(pad_longitude(x, 1), weight, bias, self.conv.stride, self.conv.padding)


class ScalarEmbedding(nn.Module):
    """Sinusoids of a scalar in [0, 1], unscaled, through a two-layer MLP (the authors' embedding).

    Frequencies fall from 1 to 1e-4 rad as in Vaswani et al. (2017).
    """

    frequencies: Tensor

    def __init__(self, width: int, num_frequencies: int = 32) -> None:
        super().__init__()
        exponents = torch.arange(num_frequencies, dtype=torch.float32) / num_frequencies
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * exponents), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * num_frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, value: Scalars) -> Embedding:
        """Return the embedding of each value."""
        angles = value[:, None] * self.frequencies
        embedding: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], dim=1))
        return embedding


class ResidualBlock(nn.Module):
    """Two normalised convolutions and a skip connection; an embedding scales and shifts the second normalisation.

    It is initialised to its skip connection.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding_width: int = 0) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(8, in_channels)
        self.conv_in = PeriodicConv(in_channels, out_channels)
        self.norm_out = nn.GroupNorm(8, out_channels)
        self.conv_out = PeriodicConv(out_channels, out_channels)
        self.modulation = nn.Linear(embedding_width, 2 * out_channels) if embedding_width else None
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.conv_out.zero_parameters()

    def forward(self, x: Fields, embedding: Embedding | None) -> Tensor:
        """Return the block's output; `embedding` is required if and only if the block has an embedding width."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = self.norm_out(h)
        if self.modulation is not None:
            assert embedding is not None
            scale, shift = self.modulation(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        output: Tensor = self.skip(x) + self.conv_out(F.silu(h))
        return output
