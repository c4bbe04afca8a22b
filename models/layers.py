"""Layers of the U-Nets: convolutions on a grid, embeddings of scalars, residual blocks, attention."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.padding import pad_longitude
from models.shapes import Embedding, Fields, Scalars


class GridConv(nn.Module):
    """3 × 3 convolution, zero-padded by a row at both ends; its columns are periodic, or also zero-padded.

    On the globe columns are longitudes and periodic, and `GlobePadding` adds rows beyond the poles before the network.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, periodic: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=(1, 0 if periodic else 1))
        self._periodic = periodic

    def zero_parameters(self) -> None:
        """Set weights and bias to zero."""
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Fields) -> Tensor:
        """Return `x` convolved; the numbers of rows and columns are divided by `stride` and rounded up."""
        output: Tensor = self.conv(self._pad(x))
        return output

    def contribution(self, x: Fields, first: int) -> Tensor:
        """Return what `x`, the input channels from index `first` on, contributes to the output.

        Contributions of all input channels sum to the output; that of the last input channel includes the bias.
        """
        last = first + x.shape[1]
        bias = self.conv.bias if last == self.conv.in_channels else None
        weight = self.conv.weight[:, first:last].contiguous(memory_format=torch.channels_last)
        return F.conv2d(self._pad(x), weight, bias, self.conv.stride, self.conv.padding)

    def _pad(self, x: Fields) -> Tensor:
        return pad_longitude(x, 1) if self._periodic else x


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

    It is initialised to its skip connection. `dropout` is the probability that a value before the second convolution is
    set to zero in training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_width: int = 0,
        *,
        norm_groups: int = 8,
        dropout: float = 0.0,
        periodic: bool = True,
    ) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(norm_groups, in_channels)
        self.conv_in = GridConv(in_channels, out_channels, periodic=periodic)
        self.norm_out = nn.GroupNorm(norm_groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = GridConv(out_channels, out_channels, periodic=periodic)
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
        output: Tensor = self.skip(x) + self.conv_out(self.dropout(F.silu(h)))
        return output


class Attention(nn.Module):
    """Attention of each grid point to all others, added to its input; initialised to its input.

    It has no sense of position, so it commutes with any permutation of the points. With `norm_groups`, keys, queries
    and values are computed from the normalised input. Source: Vaswani et al. (2017).
    """

    def __init__(self, channels: int, num_heads: int, norm_groups: int | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.Identity() if norm_groups is None else nn.GroupNorm(norm_groups, channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Fields) -> Tensor:
        """Return the sum of `x` and the attention's output."""
        points = self.norm(x).flatten(2).transpose(1, 2)
        heads = self.project(points).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        change: Tensor = self.output(mixed).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + change
