"""What is computed is written by a thread beside, a few pieces behind at most."""

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

Piece = TypeVar("Piece")

_LOOK_SECONDS = 0.2


class BackgroundWriter(Generic[Piece]):
    """Calls `write` for each piece, in order, in one thread; `put` waits while `depth` pieces wait already.

    What `write` raises comes out of the next `put`, of `drain` or at the end, and nothing is written after it. Left by
    an error, the writer ends the piece at hand and drops those that wait.
    """

    def __init__(self, write: Callable[[Piece], None], depth: int = 2) -> None:
        self._write = write
        self._pieces: queue.Queue[Piece | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, and end; after an error, drop what waits."""
        self._dropping = error is not None
        self._pieces.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def put(self, piece: Piece) -> None:
        """Hand a piece over."""
        while True:
            self._raise()
            try:
                self._pieces.put(piece, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return

    def drain(self) -> None:
        """Wait until all that was handed over is written."""
        while self._pieces.unfinished_tasks and self._error is None:
            time.sleep(_LOOK_SECONDS / 20)
        self._raise()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is None and not self._dropping:
                try:
                    self._write(piece)
                except BaseException as error:  # it is raised again in the thread that computes
                    self._error = error
            self._pieces.task_done()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
