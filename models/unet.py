"""The U-Net of both networks: unshuffling stem, residual levels, full-resolution head."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import PeriodicConv, ResidualBlock
from models.padding import GlobePadding
from models.shapes import Embedding
from weather.manifest import NetworkSpec


class FixedInputs(NamedTuple):
    """The contributions to stem and head of input channels that are constant over several evaluations."""

    stem: Tensor
    head: Tensor


class UNet(nn.Module):
    """Map fields to fields on one latitude–longitude grid, for any number of members.

    `in_signs` holds −1 for each input channel that is a vector component (it changes sign across a pole), else 1.
    The output layer is initialised to zero. Rolling all inputs by `config.stride` columns rolls the output by as many.
    """

    signs: Tensor

    def __init__(
        self,
        config: NetworkSpec,
        in_signs: tuple[int, ...],
        out_channels: int,
        num_lat: int,
        num_lon: int,
        has_poles: bool,
    ) -> None:
        super().__init__()
        self.config = config
        self.padding = GlobePadding(num_lat, num_lon, config.stride, config.polar_margin, has_poles)
        signs = torch.tensor(in_signs, dtype=torch.float32)[:, None, None]
        self.register_buffer("signs", signs, persistent=False)

        widths, width = config.widths, config.embedding_width
        self.stem = PeriodicConv(len(in_signs) * config.stem**2, widths[0])
        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        for level, channels in enumerate(widths):
            self.down.append(nn.ModuleList(ResidualBlock(channels, channels, width) for _ in range(config.blocks)))
            if level + 1 < len(widths):
                self.shrink.append(PeriodicConv(channels, widths[level + 1], stride=2))
        self.up = nn.ModuleList()
        self.grow = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            channels = widths[level]
            self.grow.append(nn.Conv2d(widths[level + 1], channels, 1))
            blocks = [ResidualBlock(2 * channels, channels, width)]
            blocks += [ResidualBlock(channels, channels, width) for _ in range(config.blocks - 1)]
            self.up.append(nn.ModuleList(blocks))
        self.unstem = nn.Conv2d(widths[0], config.head_channels * config.stem**2, 1)
        self.head = PeriodicConv(config.head_channels + len(in_signs), out_channels)
        self.head.zero_parameters()

    def forward(
        self,
        inputs: Float[Tensor, "member in_channel lat lon"],
        embedding: Embedding | None = None,
        fixed: FixedInputs | None = None,
    ) -> Float[Tensor, "member out_channel lat lon"]:
        """Return the network's output.

        `embedding` is required if and only if the configuration has an `embedding_width`. With `fixed`, the result of
        `precompute` for the last input channels, `inputs` holds only the channels before those.
        """
        padded = self._pad(inputs, 0)
        unshuffled = F.pixel_unshuffle(padded, self.config.stem)
        h = self.stem(unshuffled) if fixed is None else self.stem.contribution(unshuffled, 0) + fixed.stem
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            h = _apply_blocks(blocks, h, embedding)
            if level < len(self.shrink):
                skips.append(h)
                h = self.shrink[level](h)
        for grow, blocks in zip(self.grow, self.up, strict=True):
            h = F.interpolate(grow(h), scale_factor=2.0, mode="nearest")
            h = torch.cat([h, skips.pop()], dim=1)
            h = _apply_blocks(blocks, h, embedding)
        h = F.pixel_shuffle(self.unstem(F.silu(h)), self.config.stem)
        h = torch.cat([h, padded], dim=1)
        h = self.head(h) if fixed is None else self.head.contribution(h, 0) + fixed.head
        return self.padding.crop(h).contiguous()

    def precompute(self, inputs: Float[Tensor, "member in_channel lat lon"]) -> FixedInputs:
        """Return what the last input channels contribute, so that evaluations that share them compute it once.

        Stem and head are convolutions, linear in each input channel, so the output changes by rounding only.
        """
        first = self.signs.shape[0] - inputs.shape[1]
        padded = self._pad(inputs, first)
        stem = self.stem.contribution(F.pixel_unshuffle(padded, self.config.stem), first * self.config.stem**2)
        return FixedInputs(stem, self.head.contribution(padded, self.config.head_channels + first))

    def _pad(self, inputs: Float[Tensor, "member in_channel lat lon"], first: int) -> Tensor:
        signs = self.signs[first : first + inputs.shape[1]]
        padded: Tensor = self.padding(inputs, signs)
        return padded.contiguous(memory_format=torch.channels_last)


def _apply_blocks(blocks: nn.Module, h: Tensor, embedding: Tensor | None) -> Tensor:
    """Return the output of residual blocks that are applied one after another."""
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        h = block(h, embedding)
    return h
