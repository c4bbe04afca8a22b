"""Noise of member groups, drawn ahead of its use by several threads, each for members of its own."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.noise import ForecastNoise, NoiseStream

Piece = tuple[int, int]
"""One lead time of one group: (group, lead time index)."""

_PIECES_AHEAD = 2


class _GroupNoise:
    """The noise of a group; its members are divided among as many streams as there are threads."""

    def __init__(self, noise: ForecastNoise, members: Sequence[int], first_step: int, threads: int) -> None:
        bounds = np.linspace(0, len(members), threads + 1).astype(int).tolist()
        self._rows = [slice(first, last) for first, last in itertools.pairwise(bounds)]
        self._streams = [NoiseStream(noise, members[rows], first_step) for rows in self._rows]
        self.shape = (len(members), *noise.shape)

    def draw_part(self, part: int, noise: NDArray[np.float32]) -> None:
        """Draw the members of a thread into `noise` of the whole group."""
        self._streams[part].draw_into(noise[self._rows[part]])


def draw_ahead(
    noise: ForecastNoise,
    groups: Mapping[int, tuple[Sequence[int], int]],
    pieces: Iterable[Piece],
    *,
    threads: int,
    pinned: bool = False,
) -> Iterator[tuple[Piece, Tensor]]:
    """Yield each of `pieces` with its noise; while the caller uses one, the next two are drawn, and no more.

    `groups` has the members of each group and the index of its first lead time; the lead times of a group follow each
    other in `pieces`. Noise is float32 (member, variable, latitude, longitude) in host memory, pinned for a CUDA device
    on demand, and the same with any number of `threads`.
    """
    drawn_groups = {group: _GroupNoise(noise, members, first, threads) for group, (members, first) in groups.items()}
    with ExitStack() as stack:
        # a thread draws all steps of its members, because each step may depend on the one before
        pools = [stack.enter_context(ThreadPoolExecutor(1, "noise")) for _ in range(threads)]
        ahead: deque[tuple[Piece, Tensor, list[Future[None]]]] = deque()
        for piece in pieces:
            group = drawn_groups[piece[0]]
            fields = torch.empty(group.shape, pin_memory=pinned)
            parts = [pool.submit(group.draw_part, part, fields.numpy()) for part, pool in enumerate(pools)]
            ahead.append((piece, fields, parts))
            del fields
            if len(ahead) > _PIECES_AHEAD:
                yield _wait(*ahead.popleft())
        while ahead:
            yield _wait(*ahead.popleft())


def _wait(piece: Piece, fields: Tensor, parts: Sequence[Future[None]]) -> tuple[Piece, Tensor]:
    for part in parts:
        part.result()
    return piece, fields
