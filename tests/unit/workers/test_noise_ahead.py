import itertools
import threading

import torch

from workers.noise_ahead import NoiseAhead


def test_the_following_piece_is_drawn_beside_and_each_is_drawn_once() -> None:
    drawn: list[tuple[int, int, str]] = []

    def draw(group: int, lead_index: int) -> torch.Tensor:
        drawn.append((group, lead_index, threading.current_thread().name))
        return torch.full((1, 1, 1, 1), float(10 * lead_index + group))

    noise = NoiseAhead(draw)
    pieces = [(0, 0), (1, 0), (0, 1), (1, 1)]
    for piece, following in itertools.pairwise(pieces):
        noise.following = following
        assert noise(*piece).item() == 10 * piece[1] + piece[0]
    assert noise(*pieces[-1]).item() == 11
    assert [tuple(piece[:2]) for piece in drawn[:4]] == pieces
    assert drawn[0][2] == "MainThread"
    assert all(name.startswith("noise") for _, _, name in drawn[1:4])


def test_a_piece_that_was_not_expected_is_drawn_then() -> None:
    noise = NoiseAhead(lambda group, lead_index: torch.full((1, 1, 1, 1), float(10 * lead_index + group)))
    noise.following = (1, 0)
    assert [noise(0, 0).item(), noise(2, 3).item(), noise(1, 0).item()] == [0, 32, 1]
