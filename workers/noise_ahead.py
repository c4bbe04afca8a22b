"""Noise that is drawn while the device computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

Piece = tuple[int, int]
"""A group, and the index of one of its lead times."""


class NoiseAhead:
    """Gives what `draw` draws for a piece, and has a thread draw that of the `following` one meanwhile, never more."""

    def __init__(self, draw: Callable[[int, int], Tensor]) -> None:
        self.following: Piece | None = None
        self._draw = draw
        self._thread = ThreadPoolExecutor(1, "noise")
        self._ahead: tuple[Piece, Future[Tensor]] | None = None

    def __call__(self, group: int, lead_index: int) -> Tensor:
        """Return the noise of a piece, float32 on the CPU, (member, variable, latitude, longitude)."""
        piece, ahead = (group, lead_index), self._ahead
        noise = ahead[1].result() if ahead is not None and ahead[0] == piece else self._draw(*piece)
        following = self.following
        self._ahead = None if following is None else (following, self._thread.submit(self._draw, *following))
        return noise
