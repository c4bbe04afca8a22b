"""The geometry of fields: the globe, periodic in longitude and continued across the poles, or a plane of pixels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.shapes import Fields


def pad_longitude(x: Fields, width: int) -> Tensor:
    """Return `x` with `width` columns from the other end added at both ends of the longitude axis."""
    return torch.cat([x[..., -width:], x, x[..., :width]], dim=-1)


class GlobePadding(nn.Module):
    """Add rows beyond both poles so that a strided network fits the grid; `crop` removes them.

    A row beyond the pole is the mirrored row on the other side of the globe: rolled by 180° of longitude,
    with the sign of vector components changed, because east and north both reverse across the pole. At least
    `margin` rows are added at each pole, and as many as make the number of rows a multiple of `stride`.
    """

    def __init__(self, num_lat: int, num_lon: int, stride: int, margin: int, has_poles: bool) -> None:
        super().__init__()
        if num_lon % stride or num_lon % 2:
            raise ValueError(
                f"The number of longitudes must be even and a multiple of the total stride {stride}. Got: {num_lon}."
            )
        extra = 2 * margin + (-(num_lat + 2 * margin)) % stride
        self.north = extra // 2
        self.south = extra - self.north
        self.num_lat = num_lat
        self.skip = 1 if has_poles else 0
        if self.south + self.skip > num_lat:
            raise ValueError(
                f"A grid of {num_lat} latitudes is too small for {self.south} rows of padding; lower the stride."
            )

    def forward(self, x: Fields, sign: Float[Tensor, "channel 1 1"]) -> Float[Tensor, "member channel padded_lat lon"]:
        """Return `x` with rows added; `sign` is −1 for the channels that change sign across a pole, else 1."""
        north = x[:, :, self.skip : self.skip + self.north]
        south = x[:, :, x.shape[2] - self.skip - self.south : x.shape[2] - self.skip]
        return torch.cat([self._beyond(north, sign), x, self._beyond(south, sign)], dim=2)

    def crop(self, x: Float[Tensor, "member channel padded_lat lon"]) -> Fields:
        """Return `x` without the rows that `forward` added."""
        return x[:, :, self.north : self.north + self.num_lat]

    @staticmethod
    def _beyond(rows: Tensor, sign: Tensor) -> Tensor:
        return torch.roll(rows.flip(2), rows.shape[-1] // 2, dims=-1) * sign


class NoPadding(nn.Module):
    """Leave fields on a plane as they are."""

    def forward(self, x: Fields, sign: Float[Tensor, "channel 1 1"]) -> Fields:  # noqa: ARG002  # nothing to continue
        """Return `x`; nothing depends on `sign`."""
        return x

    def crop(self, x: Fields) -> Fields:
        """Return `x`."""
        return x


PadAndCrop = GlobePadding | NoPadding
"""Adds the rows that a strided network needs, and removes them from its output."""


@dataclass(frozen=True)
class Globe:
    """A global grid of latitudes and longitudes; `has_poles` says whether the first and last row are poles."""

    num_lat: int
    num_lon: int
    has_poles: bool
    is_periodic: bool = True

    def padding(self, stride: int, margin: int) -> PadAndCrop:
        """Return a `GlobePadding` with at least `margin` rows; raises `ValueError` if the grid does not allow it."""
        return GlobePadding(self.num_lat, self.num_lon, stride, margin, self.has_poles)


@dataclass(frozen=True)
class Plane:
    """An image of pixels; beyond its edges convolutions see zeros, and `margin` rows would add nothing to them."""

    num_rows: int
    num_columns: int
    is_periodic: bool = False

    def padding(self, stride: int, margin: int) -> PadAndCrop:  # noqa: ARG002  # no rows beyond edges
        """Return a `NoPadding`; raises `ValueError` unless both sides are multiples of `stride`."""
        if self.num_rows % stride or self.num_columns % stride:
            raise ValueError(
                f"Both sides of an image must be multiples of the total stride {stride}. "
                f"Got: {self.num_rows} × {self.num_columns}."
            )
        return NoPadding()


Geometry = Globe | Plane
"""Where fields are: whether columns are periodic, and how rows continue beyond the edges."""
