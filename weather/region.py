"""A region of the globe, given by a bounding box of longitudes and latitudes."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from storage.errors import ConfigurationError

_FORMAT = (
    "`bbox` must be west,south,east,north in degrees, such as -15,35,30,60: south < north within ±90, west and east "
    "within -180 and 360 and at most 360 apart; west > east crosses 180°."
)


@dataclass(frozen=True)
class Region:
    """The box from `west` eastward to `east` and from `south` to `north`, in degrees.

    `west` is in [-180, 180) and `east` in (west, west + 360]: a region across 180° has an `east` above 180.
    """

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def parse(cls, bbox: str) -> Self:
        """Return the region of a text `west,south,east,north` in degrees, such as `-15,35,30,60`.

        West > east crosses 180°. Raises `ConfigurationError` for anything else.
        """
        try:
            west, south, east, north = (float(part) for part in bbox.split(","))
        except ValueError as error:
            raise ConfigurationError(f"{_FORMAT} Got: {bbox!r}.", ("bbox",)) from error
        width = east - west if east > west else east - west + 360
        is_valid = (
            all(-180 <= longitude <= 360 for longitude in (west, east))
            and -90 <= south < north <= 90
            and west != east
            and 0 < width <= 360
        )
        if not is_valid:
            raise ConfigurationError(f"{_FORMAT} Got: {bbox!r}.", ("bbox",))
        western = (west + 180) % 360 - 180
        return cls(western, south, western + width, north)

    @property
    def aspect(self) -> float:
        """Length of a degree of latitude over that of a degree of longitude, at the region's middle latitude."""
        return 1 / max(math.cos(math.radians((self.south + self.north) / 2)), 0.2)

    @property
    def height_over_width(self) -> float:
        """Height of a map of this region divided by its width."""
        return self.aspect * (self.north - self.south) / (self.east - self.west)

    def crop(
        self, latitude: NDArray[np.float64], longitude: NDArray[np.float64], fields: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
        """Return latitudes, longitudes and `fields` of the grid points in the region and of those next to it.

        `fields` is (…, latitude, longitude) on descending `latitude` and on `longitude` in [0, 360). The longitudes
        that are returned ascend from at most `west` to at least `east`, without a jump at 180° or 360°.
        """
        above, below = np.nonzero(latitude >= self.north)[0], np.nonzero(latitude <= self.south)[0]
        first = int(above[-1]) if len(above) else 0
        last = int(below[0]) if len(below) else len(latitude) - 1
        eastward = self.west + (longitude - self.west) % 360
        order = np.argsort(eastward)
        columns = np.concatenate([order[-1:], order, order[:1]])
        unwrapped = np.concatenate([eastward[order[-1:]] - 360, eastward[order], eastward[order[:1]] + 360])
        start = int(np.nonzero(unwrapped <= self.west)[0][-1])
        stop = int(np.nonzero(unwrapped >= self.east)[0][0]) + 1
        rows = slice(first, last + 1)
        return latitude[rows], unwrapped[start:stop], fields[..., rows, columns[start:stop]]

    def rows_inside(self, latitude: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the indices of the latitudes in the region, in their order."""
        return np.flatnonzero((latitude >= self.south) & (latitude <= self.north))

    def columns_inside(self, longitude: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the indices of the longitudes in the region from `west` eastward, and their degrees without a jump.

        A region of 360° has each longitude once.
        """
        eastward = self.west + (longitude - self.west) % 360
        order = np.argsort(eastward)
        inside = order[eastward[order] <= self.east]
        return inside, eastward[inside]
