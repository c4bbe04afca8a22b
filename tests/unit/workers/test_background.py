import threading
import time
from collections.abc import Sequence

import pytest

from workers.background import BackgroundWriter


def test_pieces_are_written_in_order_by_another_thread() -> None:
    written: list[tuple[int, int]] = []
    with BackgroundWriter[int](
        lambda pieces: written.extend((each, threading.get_ident()) for each in pieces)
    ) as writer:
        for piece in range(20):
            writer.put(piece)
    assert [piece for piece, _ in written] == list(range(20))
    assert {thread for _, thread in written}.isdisjoint({threading.get_ident()})


def test_put_blocks_while_the_queue_is_full() -> None:
    free, written = threading.Event(), list[int]()

    def write(pieces: Sequence[int]) -> None:
        assert free.wait(10)
        written.extend(pieces)

    with BackgroundWriter(write, depth=2) as writer:
        for piece in range(3):
            writer.put(piece)
        late = threading.Thread(target=writer.put, args=(3,))
        late.start()
        late.join(0.5)
        assert late.is_alive()
        free.set()
        late.join(10)
    assert written == [0, 1, 2, 3]


def test_an_error_is_raised_by_the_next_put_and_nothing_is_written_after_it() -> None:
    written: list[int] = []

    def write(pieces: Sequence[int]) -> None:
        if pieces == [1]:
            raise OSError("No space left on device")
        written.extend(pieces)

    def run() -> None:
        with BackgroundWriter(write) as writer:
            for piece in range(100):
                writer.put(piece)
                time.sleep(0.001)

    with pytest.raises(OSError, match="No space left"):
        run()
    assert written == [0]


def test_an_error_of_the_last_piece_is_raised_at_the_end() -> None:
    def write(_: Sequence[int]) -> None:
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"), BackgroundWriter(write) as writer:
        writer.put(0)


def test_drain_returns_once_all_pieces_are_written() -> None:
    written: list[int] = []

    def write(pieces: Sequence[int]) -> None:
        time.sleep(0.02)
        written.extend(pieces)

    with BackgroundWriter(write, depth=5) as writer:
        for piece in range(5):
            writer.put(piece)
        writer.drain()
        assert written == [0, 1, 2, 3, 4]


def test_an_interruption_finishes_the_current_piece_and_drops_the_queued_ones() -> None:
    started, written = threading.Event(), list[int]()

    def write(pieces: Sequence[int]) -> None:
        started.set()
        time.sleep(0.2)
        written.extend(pieces)

    def run() -> None:
        with BackgroundWriter(write) as writer:
            writer.put(0)
            assert started.wait(10)
            writer.put(1)
            raise SystemExit

    with pytest.raises(SystemExit):
        run()
    assert written == [0]


def test_pieces_that_became_ready_meanwhile_are_written_at_once_up_to_the_first_that_is_not() -> None:
    """An oldest piece that is not ready is written all the same: `write` waits for it."""
    started, go_on, batches = threading.Event(), threading.Event(), list[list[int]]()

    def write(pieces: Sequence[int]) -> None:
        started.set()
        assert go_on.wait(10)
        batches.append(list(pieces))

    with BackgroundWriter(write, depth=6, is_ready=lambda piece: piece != 3) as writer:
        writer.put(0)
        assert started.wait(10)
        for piece in (1, 2, 3, 4):
            writer.put(piece)
        go_on.set()
    assert batches == [[0], [1, 2], [3, 4]]
