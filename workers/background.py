"""A writer thread with a bounded queue, so that computation and output overlap."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from types import TracebackType
from typing import Generic, Self, TypeVar

Piece = TypeVar("Piece")


class BackgroundWriter(Generic[Piece]):
    """Write pieces in order in one thread; `put` blocks while `depth` pieces are queued.

    `write` is called with the oldest queued piece, and with those that follow it as far as `is_ready` returns true for
    each: what has become ready while it was busy is written at once. An exception of `write` is raised again by the
    next `put`, by `drain` or on leaving the context, and no piece is written after it. If the context is left by an
    exception, the writer finishes the pieces that it is writing and drops the queued ones.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Piece]], None],
        depth: int = 2,
        is_ready: Callable[[Piece], bool] = lambda _: False,
    ) -> None:
        self._write, self._depth, self._is_ready = write, depth, is_ready
        self._queued: deque[Piece] = deque()
        self._writing = False
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._is_ending = False
        run = copy_context().run  # the subjects of log lines
        self._thread = threading.Thread(target=run, args=(self._run,), name="writer", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the queued pieces and end the thread; after an exception, drop them."""
        with self._changed:
            if error is not None:
                self._queued.clear()
            self._is_ending = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self._raise()

    def put(self, piece: Piece) -> None:
        """Queue a piece; raise the exception of `write`, if there was one."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or len(self._queued) < self._depth)
            self._raise()
            self._queued.append(piece)
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until all queued pieces are written."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or not (self._queued or self._writing))
        self._raise()

    def _run(self) -> None:
        while pieces := self._next_pieces():
            try:
                self._write(pieces)
            except BaseException as error:  # raised again in the computing thread
                self._error = error
            del pieces
            with self._changed:
                self._writing = False
                self._changed.notify_all()
            if self._error is not None:
                return

    def _next_pieces(self) -> Sequence[Piece]:
        """Wait for the oldest queued piece and return it, with those after it that are ready; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_ending or self._queued)
            pieces = [self._queued.popleft()] if self._queued else []
            while self._queued and self._is_ready(self._queued[0]):
                pieces.append(self._queued.popleft())
            self._writing = bool(pieces)
            self._changed.notify_all()
            return pieces

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
