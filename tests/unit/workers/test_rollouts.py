import threading

import pytest
import torch

from workers.rollouts import Piece, draw_ahead

PIECES = [(0, 0), (1, 0), (0, 1), (1, 1)]


def _value(group: int, lead_index: int) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), float(10 * lead_index + group))


def test_each_piece_is_drawn_once_in_order_by_another_thread() -> None:
    drawn: list[Piece] = []
    threads: set[str] = set()

    def draw(group: int, lead_index: int) -> torch.Tensor:
        drawn.append((group, lead_index))
        threads.add(threading.current_thread().name)
        return _value(group, lead_index)

    found = [(piece, noise.item()) for piece, noise in draw_ahead(draw, PIECES)]
    assert found == [((0, 0), 0), ((1, 0), 1), ((0, 1), 10), ((1, 1), 11)]
    assert drawn == PIECES
    assert all(name.startswith("noise") for name in threads)


def test_only_the_next_piece_is_drawn_ahead() -> None:
    drawn: list[Piece] = []
    ready = {piece: threading.Event() for piece in PIECES}

    def draw(group: int, lead_index: int) -> torch.Tensor:
        drawn.append((group, lead_index))
        ready[group, lead_index].set()
        return _value(group, lead_index)

    noise = draw_ahead(draw, PIECES)
    for index in range(3):
        next(noise)
        assert ready[PIECES[index + 1]].wait(10)
        assert drawn == PIECES[: index + 2]


def test_an_error_of_drawing_reaches_the_caller() -> None:
    def draw(group: int, lead_index: int) -> torch.Tensor:
        raise MemoryError("no room for noise")

    with pytest.raises(MemoryError, match="no room"):
        next(draw_ahead(draw, PIECES))
