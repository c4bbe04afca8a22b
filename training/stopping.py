"""A training ends on SIGTERM, such as the pre-emption of a batch system sends, only after its state is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """Whether this process got the signal to end."""

    is_set = False


@contextmanager
def note_termination() -> Iterator[StopSignal]:
    """Yield the sign that SIGTERM has arrived in the block, instead of ending the process by it.

    Outside of the main thread, where Python cannot handle signals, it is never set.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.is_set = True

    earlier = signal.signal(signal.SIGTERM, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, earlier)
