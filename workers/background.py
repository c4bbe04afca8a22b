"""A writer thread with a bounded queue, so that computation and output overlap."""

import queue
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Generic, Self, TypeVar

Piece = TypeVar("Piece")

_POLL_SECONDS = 0.2


class BackgroundWriter(Generic[Piece]):
    """Call `write` for each piece, in order, in one thread; `put` blocks while `depth` pieces are queued.

    An exception of `write` is raised again by the next `put`, by `drain` or on leaving the context, and no piece is
    written after it. If the context is left by an exception, the writer finishes the piece that it is writing and
    drops the queued ones.
    """

    def __init__(self, write: Callable[[Piece], None], depth: int = 2) -> None:
        self._write = write
        self._pieces: queue.Queue[Piece | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._dropping = False
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
        self._dropping = error is not None
        self._pieces.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def put(self, piece: Piece) -> None:
        """Queue a piece; raise the exception of `write`, if there was one."""
        while True:
            self._raise()
            try:
                self._pieces.put(piece, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def drain(self) -> None:
        """Wait until all queued pieces are written."""
        while self._pieces.unfinished_tasks and self._error is None:
            time.sleep(_POLL_SECONDS / 20)
        self._raise()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is None and not self._dropping:
                try:
                    self._write(piece)
                except BaseException as error:  # raised again in the computing thread
                    self._error = error
            self._pieces.task_done()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
