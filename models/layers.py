"""Layers of the U-Net: periodic convolutions, embeddings of scalars, residual blocks."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models.padding import pad_longitude


class PeriodicConv(nn.Module):
    """3 × 3 convolution, periodic in longitude, zero-padded in latitude (`GlobePadding` adds the real rows)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=(1, 0))

    def forward(self, x: Float[Tensor, "member channel lat lon"]) -> Tensor:
        """Return the convolution, `stride` times smaller in both directions."""
        return self.conv(pad_longitude(x, 1))  # type: ignore[no-any-return]

    def part(self, x: Float[Tensor, "member channel lat lon"], first: int) -> Tensor:
        """Return what input channels from `first` on add to the output; the bias comes with the last of them."""
        last = first + x.shape[1]
        bias = self.conv.bias if last == self.conv.in_channels else None
        weight = self.conv.weight[:, first:last].contiguous(memory_format=torch.channels_last)
        return F.conv2d(pad_longitude(x, 1), weight, bias, self.conv.stride, self.conv.padding)


class ScalarEmbedding(nn.Module):
    """Sinusoids of a scalar in [0, 1], unscaled, through a two-layer MLP (the authors' embedding).

    Shapes: (batch,) → (batch, `width`). Frequencies fall from 1 to 1e-4 rad as in Vaswani et al. (2017).
    """

    frequencies: Tensor

    def __init__(self, width: int, num_frequencies: int = 32) -> None:
        super().__init__()
        exponents = torch.arange(num_frequencies, dtype=torch.float32) / num_frequencies
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * exponents), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * num_frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, value: Float[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        """Return the embedding of each value."""
        angles = value[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=1))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two normalised convolutions with a skip; an embedding, where given, scales and shifts the second norm."""

    def __init__(self, in_channels: int, out_channels: int, embedding_width: int = 0) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(8, in_channels)
        self.conv_in = PeriodicConv(in_channels, out_channels)
        self.norm_out = nn.GroupNorm(8, out_channels)
        self.conv_out = PeriodicConv(out_channels, out_channels)
        self.modulation = nn.Linear(embedding_width, 2 * out_channels) if embedding_width else None
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        nn.init.zeros_(self.conv_out.conv.weight)
        nn.init.zeros_(self.conv_out.conv.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "member channel lat lon"], embedding: Float[Tensor, "batch width"] | None
    ) -> Tensor:
        """Return the block's output; `embedding`, one or one a member, exactly where the block has a width for it."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = self.norm_out(h)
        if self.modulation is not None:
            assert embedding is not None
            scale, shift = self.modulation(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv_out(F.silu(h))  # type: ignore[no-any-return]
