"""The U-Nets of the paper's experiments, for h and for p', on the globe or on a plane."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models.grid_network import FixedInputs, GridNetwork
from models.layers import Attention, GridConv, ResidualBlock, ScalarEmbedding
from models.padding import Geometry
from models.shapes import Embedding
from weather.network_specs import PaperFlowSpec, PaperWarmStartSpec


class PaperUNet(GridNetwork):
    """A U-Net in which every block of the way down has a skip connection to the way up.

    Both kinds have the same residual blocks. h embeds the constant flow time 0 and learns its resampling: convolutions
    of stride 2, and convolutions after nearest-neighbour interpolation. p' takes the embedding of flow time and warmth,
    averages 2 × 2 points on the way down and interpolates on the way up. Source: docs/method.md §9.
    """

    def __init__(
        self,
        config: PaperWarmStartSpec | PaperFlowSpec,
        in_signs: tuple[int, ...],
        out_channels: int,
        geometry: Geometry,
    ) -> None:
        is_flow = isinstance(config, PaperFlowSpec)
        taken, frequencies = (config.embedding_width if is_flow else 0), config.embedding_width // 8
        super().__init__(in_signs, geometry, config.stride, config.polar_margin, taken, frequencies)
        self.config = config
        self.constant = None if is_flow else ScalarEmbedding(config.embedding_width, frequencies)
        parts, widths = _Parts(config, periodic=geometry.is_periodic), config.widths

        self.stem = GridConv(len(in_signs), widths[0], periodic=geometry.is_periodic)
        self.down, skips = nn.ModuleList(), [widths[0]]
        for level, width in enumerate(widths):
            blocks = [parts.block(skips[-1] if i == 0 else width, width, level) for i in range(config.blocks)]
            is_last = level + 1 == len(widths)
            self.down.append(_Level(blocks, nn.Identity() if is_last else parts.shrink(width)))
            skips += [width] * (config.blocks if is_last else config.blocks + 1)
        self.middle = parts.middle(widths[-1])
        self.up, width = nn.ModuleList(), widths[-1]
        for level in reversed(range(len(widths))):
            blocks = []
            for _ in range(config.blocks + 1):
                blocks.append(parts.block(width + skips.pop(), widths[level], level))
                width = widths[level]
            self.up.append(_Level(blocks, nn.Identity() if level == 0 else parts.grow(width)))
        self.norm = nn.GroupNorm(config.norm_groups, widths[0])
        self.head = GridConv(widths[0], out_channels, periodic=geometry.is_periodic)
        self.head.zero_parameters()

    def forward(
        self,
        inputs: Float[Tensor, "member in_channel lat lon"],
        embedding: Embedding | None = None,
        fixed: FixedInputs | None = None,
    ) -> Float[Tensor, "member out_channel lat lon"]:
        """Return the network's output, as `GridNetwork` describes."""
        if self.constant is not None:
            embedding = self.constant(self.signs.new_zeros(1))
        padded = self.pad(inputs)
        h = self.stem(padded) if fixed is None else self.stem.contribution(padded, 0) + fixed.stem
        skips = [h]
        for level in self.down:
            assert isinstance(level, _Level)
            for block in level.blocks:
                h = self.apply_block(block, h, embedding)
                skips.append(h)
            if not isinstance(level.resample, nn.Identity):
                h = level.resample(h)
                skips.append(h)
        for block in self.middle:
            h = self.apply_block(block, h, embedding)
        for level in self.up:
            assert isinstance(level, _Level)
            for block in level.blocks:
                h = self.apply_block(block, torch.cat([h, skips.pop()], dim=1), embedding)
            h = level.resample(h)
        h = self.head(F.silu(self.norm(h)))
        return self.padding.crop(h).contiguous()

    def precompute(self, inputs: Float[Tensor, "member in_channel lat lon"]) -> FixedInputs:
        """Return what the last input channels contribute to the first convolution, which is linear in each."""
        first = self.signs.shape[0] - inputs.shape[1]
        return FixedInputs(self.stem.contribution(self.pad(inputs, first), first), None)

    @property
    def input_weights(self) -> Mapping[str, tuple[int, int]]:
        """The weight of the stem, as `GridNetwork` describes."""
        return {"stem.conv.weight": (0, 1)}


class _Level(nn.Module):
    """The blocks of a level, and the change of resolution after them."""

    def __init__(self, blocks: list[nn.Module], resample: nn.Module) -> None:
        super().__init__()
        self.blocks, self.resample = nn.ModuleList(blocks), resample


class _Block(nn.Module):
    """A residual block, and attention after it if there is any."""

    def __init__(self, residual: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.residual, self.attention = residual, attention

    def forward(self, h: Tensor, embedding: Embedding) -> Tensor:
        """Return the block's output."""
        output: Tensor = self.attention(self.residual(h, embedding))
        return output


class _Parts:
    """The parts of a network of one kind."""

    def __init__(self, config: PaperWarmStartSpec | PaperFlowSpec, *, periodic: bool) -> None:
        self._config, self._periodic = config, periodic

    def block(self, in_channels: int, width: int, level: int) -> nn.Module:
        """Return a block of a level, with attention if the configuration gives it to the level."""
        attended = level in self._config.attention_levels
        return self._block(
            in_channels, width, self._attention(width, self._config.norm_groups) if attended else nn.Identity()
        )

    def middle(self, width: int) -> nn.ModuleList:
        """Return two blocks, the first with attention; in h its input is not normalised, as in the library it used."""
        groups = self._config.norm_groups if isinstance(self._config, PaperFlowSpec) else None
        return nn.ModuleList(
            [
                self._block(width, width, self._attention(width, groups)),
                self._block(width, width, nn.Identity()),
            ]
        )

    def shrink(self, width: int) -> nn.Module:
        """Return the layer that halves the resolution."""
        if isinstance(self._config, PaperFlowSpec):
            return nn.AvgPool2d(2)
        return GridConv(width, width, stride=2, periodic=self._periodic)

    def grow(self, width: int) -> nn.Module:
        """Return the layer that doubles the resolution."""
        double = nn.Upsample(scale_factor=2.0, mode="nearest")
        if isinstance(self._config, PaperFlowSpec):
            return double
        return nn.Sequential(double, GridConv(width, width, periodic=self._periodic))

    def _block(self, in_channels: int, width: int, attention: nn.Module) -> nn.Module:
        config = self._config
        residual = ResidualBlock(
            in_channels,
            width,
            config.embedding_width,
            norm_groups=config.norm_groups,
            dropout=config.dropout if isinstance(config, PaperFlowSpec) else 0.0,
            periodic=self._periodic,
        )
        return _Block(residual, attention)

    def _attention(self, width: int, groups: int | None) -> nn.Module:
        heads = 1 if isinstance(self._config, PaperFlowSpec) else width // self._config.head_width
        return Attention(width, heads, groups)
