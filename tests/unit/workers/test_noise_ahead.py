import itertools
import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.noise import ForecastNoise, NoiseStream
from weather.manifest import WHITE, NoiseSpec
from workers.noise_ahead import draw_ahead

TIME = np.datetime64("2018-09-15T00", "s")
CORRELATED = NoiseSpec(correlation=0.6, late_correlation=0.2, decay_hours=12, scale=1.05)
GROUPS: dict[int, tuple[Sequence[int], int]] = {0: ([0, 1, 2, 3, 4], 0), 2: ([10, 11, 11], 1)}
PIECES = [(0, 0), (0, 1), (2, 1), (0, 2), (2, 2)]


def _noise(spec: NoiseSpec) -> ForecastNoise:
    return ForecastNoise(spec, 6, (2, 5, 7), 1, TIME)


@pytest.mark.parametrize("spec", [WHITE, CORRELATED])
@pytest.mark.parametrize("threads", [1, 2, 4, 7])
def test_the_noise_is_the_same_bit_for_bit_however_many_threads_draw_it(spec: NoiseSpec, threads: int) -> None:
    """With 4 threads and 3 members, and with 7 and 5, some of the threads have no member."""
    noise = _noise(spec)
    expected = {group: noise.draw(members, first) for group, (members, first) in GROUPS.items()}
    found = list(draw_ahead(noise, GROUPS, PIECES, threads=threads))
    assert [piece for piece, _ in found] == PIECES
    for (group, _), fields in found:
        assert torch.equal(fields, next(expected[group]))


def test_only_the_next_two_pieces_are_drawn_ahead_by_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = threading.Semaphore(0)
    threads: set[int] = set()
    draw = NoiseStream.draw_into

    def count(stream: NoiseStream, out: NDArray[np.float32]) -> None:
        draw(stream, out)
        threads.add(threading.get_ident())
        drawn.release()

    monkeypatch.setattr(NoiseStream, "draw_into", count)
    pieces = draw_ahead(_noise(WHITE), {0: ([0, 1], 0)}, ((0, step) for step in range(9)), threads=1)
    for number in range(1, 4):
        next(pieces)
        for _ in range(3 if number == 1 else 1):
            assert drawn.acquire(timeout=10)
        assert not drawn.acquire(timeout=0.05)
    assert threading.get_ident() not in threads
    assert len(threads) == 1


def test_an_error_of_drawing_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_stream: NoiseStream, _out: NDArray[np.float32]) -> None:
        raise MemoryError("no room for noise")

    monkeypatch.setattr(NoiseStream, "draw_into", fail)
    with pytest.raises(MemoryError, match="no room"):
        next(draw_ahead(_noise(WHITE), {0: ([0], 0)}, [(0, 0)], threads=2))


def test_pieces_that_are_not_used_end_without_waiting_for_the_rest() -> None:
    endless: itertools.count[int] = itertools.count()
    pieces = draw_ahead(_noise(WHITE), {0: ([0], 0)}, ((0, step) for step in endless), threads=2)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]  # a generator
    assert next(endless) == 3
