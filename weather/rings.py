"""Geometry of the rings of polygons in a plane: crossings, and what is inside on a line of equal latitude."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
"""Longitude and latitude, degrees."""
Ring = tuple[Point, ...]
"""The vertices of a closed ring; the last is the first again."""


def find_intervals(rings: Sequence[Ring], latitude: float, tolerance: float) -> Iterator[tuple[float, float]]:
    """Yield the intervals of longitude, ends included, that are inside the rings of a polygon at a latitude.

    A point is inside if it is so by the even–odd rule just north or just south of the latitude, so that boundaries
    belong to the polygon. A vertex within `tolerance` of the latitude is at it.
    """
    start, end = _edges(rings)
    vertices = start[:, 1]
    nearest = float(vertices[np.abs(vertices - latitude).argmin()])
    level = nearest if abs(nearest - latitude) <= tolerance else latitude
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    for crossed in ((low <= level) & (level < high), (low < level) & (level <= high)):
        (x1, y1), (x2, y2) = start[crossed].T, end[crossed].T
        crossings = np.sort(x1 + (level - y1) * (x2 - x1) / (y2 - y1))
        yield from zip(crossings[::2].tolist(), crossings[1::2].tolist(), strict=True)


def is_inside(ring: Ring, point: Point) -> bool:
    """Return whether a point is inside a ring or on it."""
    return any(west <= point[0] <= east for west, east in find_intervals([ring], point[1], 0.0))


def find_crossing(rings: Sequence[Ring]) -> tuple[tuple[Point, Point], tuple[Point, Point]] | None:
    """Return two edges of the rings that cross; None if there are none. Edges that only touch do not cross."""
    start, end = _edges(rings)
    of_start = _side(start[:, None], end[:, None], start[None])
    of_end = _side(start[:, None], end[:, None], end[None])
    is_parted = of_start * of_end < 0
    crossings = np.argwhere(is_parted & is_parted.T)
    if not len(crossings):
        return None
    first, second = (
        ((float(start[edge, 0]), float(start[edge, 1])), (float(end[edge, 0]), float(end[edge, 1])))
        for edge in crossings[0]
    )
    return first, second


def _edges(rings: Sequence[Ring]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the starts and the ends of all edges, (edge, 2)."""
    return np.concatenate([np.array(ring[:-1]) for ring in rings]), np.concatenate(
        [np.array(ring[1:]) for ring in rings]
    )


def _side(start: NDArray[np.float64], end: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return on which side of the line from `start` to `end` points are: 1, −1, or 0 on the line."""
    along, to = end - start, point - start
    return np.asarray(np.sign(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]))
