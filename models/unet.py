"""Warmcast's own U-Net: unshuffling stem, residual levels, full-resolution head."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models.grid_network import FixedInputs, GridNetwork
from models.layers import GridConv, ResidualBlock
from models.padding import Geometry
from models.shapes import Embedding
from weather.network_specs import UNetSpec


class UNet(GridNetwork):
    """Warmcast's own U-Net, small and fast: most of its work is on the unshuffled grid of its stem."""

    def __init__(self, config: UNetSpec, in_signs: tuple[int, ...], out_channels: int, geometry: Geometry) -> None:
        super().__init__(in_signs, geometry, config.stride, config.polar_margin, config.embedding_width, 32)
        self.config = config
        periodic = geometry.is_periodic

        widths, width = config.widths, config.embedding_width
        self.stem = GridConv(len(in_signs) * config.stem**2, widths[0], periodic=periodic)
        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        for level, channels in enumerate(widths):
            blocks = [ResidualBlock(channels, channels, width, periodic=periodic) for _ in range(config.blocks)]
            self.down.append(nn.ModuleList(blocks))
            if level + 1 < len(widths):
                self.shrink.append(GridConv(channels, widths[level + 1], stride=2, periodic=periodic))
        self.up = nn.ModuleList()
        self.grow = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            channels = widths[level]
            self.grow.append(nn.Conv2d(widths[level + 1], channels, 1))
            entering = [2 * channels, *[channels] * (config.blocks - 1)]
            blocks = [ResidualBlock(count, channels, width, periodic=periodic) for count in entering]
            self.up.append(nn.ModuleList(blocks))
        self.unstem = nn.Conv2d(widths[0], config.head_channels * config.stem**2, 1)
        self.head = GridConv(config.head_channels + len(in_signs), out_channels, periodic=periodic)
        self.head.zero_parameters()

    def forward(
        self,
        inputs: Float[Tensor, "member in_channel lat lon"],
        embedding: Embedding | None = None,
        fixed: FixedInputs | None = None,
    ) -> Float[Tensor, "member out_channel lat lon"]:
        """Return the network's output, as `GridNetwork` describes."""
        padded = self.pad(inputs)
        unshuffled = F.pixel_unshuffle(padded, self.config.stem)
        h = self.stem(unshuffled) if fixed is None else self.stem.contribution(unshuffled, 0) + fixed.stem
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            h = self._apply_blocks(blocks, h, embedding)
            if level < len(self.shrink):
                skips.append(h)
                h = self.shrink[level](h)
        for grow, blocks in zip(self.grow, self.up, strict=True):
            h = F.interpolate(grow(h), scale_factor=2.0, mode="nearest")
            h = torch.cat([h, skips.pop()], dim=1)
            h = self._apply_blocks(blocks, h, embedding)
        h = F.pixel_shuffle(self.unstem(F.silu(h)), self.config.stem)
        h = torch.cat([h, padded], dim=1)
        if fixed is None:
            h = self.head(h)
        else:
            assert fixed.head is not None
            h = self.head.contribution(h, 0) + fixed.head
        return self.padding.crop(h).contiguous()

    def precompute(self, inputs: Float[Tensor, "member in_channel lat lon"]) -> FixedInputs:
        """Return what the last input channels contribute to stem and head, which are linear in each input channel."""
        first = self.signs.shape[0] - inputs.shape[1]
        padded = self.pad(inputs, first)
        stem = self.stem.contribution(F.pixel_unshuffle(padded, self.config.stem), first * self.config.stem**2)
        return FixedInputs(stem, self.head.contribution(padded, self.config.head_channels + first))

    @property
    def input_weights(self) -> Mapping[str, tuple[int, int]]:
        """The weights of stem and head, as `GridNetwork` describes."""
        return {"stem.conv.weight": (0, self.config.stem**2), "head.conv.weight": (self.config.head_channels, 1)}

    def _apply_blocks(self, blocks: nn.Module, h: Tensor, embedding: Tensor | None) -> Tensor:
        """Return the output of residual blocks that are applied one after another."""
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            h = self.apply_block(block, h, embedding)
        return h
