"""The channel by which the Celery worker of a machine notifies the process beside it, which computes."""

import fcntl
import os
import select
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

_NOTICE = b"1"
_MAX_BYTES = 65536


@dataclass(frozen=True)
class NoticeChannel:
    """File descriptors that the processes inherit: both ends of a pipe, and a file that is locked by a busy process.

    The kernel ends the lock of a process that dies, so that no notice waits for it.
    """

    receiver: int
    sender: int
    busy_file: int

    @classmethod
    def open(cls) -> Self:
        """Open a channel in the parent of both processes, which keeps it open while they are restarted."""
        receiver, sender = os.pipe()
        for end in (receiver, sender):
            os.set_blocking(end, False)
        with tempfile.TemporaryFile() as file:
            return cls(receiver, sender, os.dup(file.fileno()))

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Self:
        """Return the channel of the arguments that its parent has passed with `arguments`."""
        return cls(*map(int, arguments))

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """The file descriptors, which a child process has to inherit."""
        return self.receiver, self.sender, self.busy_file

    @property
    def arguments(self) -> list[str]:
        """The arguments of a child process from which `parse` makes the channel."""
        return [str(descriptor) for descriptor in self.descriptors]

    def deliver(self) -> None:
        """Notify the computing process; wait before that until it is not busy, so that others get further notices."""
        fcntl.lockf(self.busy_file, fcntl.LOCK_EX)
        fcntl.lockf(self.busy_file, fcntl.LOCK_UN)
        with suppress(BlockingIOError):  # it has not read thousands of earlier ones yet
            os.write(self.sender, _NOTICE)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Mark this process as busy in the block, and discard the notices that came before it."""
        fcntl.lockf(self.busy_file, fcntl.LOCK_EX)
        try:
            with suppress(BlockingIOError):
                os.read(self.receiver, _MAX_BYTES)
            yield
        finally:
            fcntl.lockf(self.busy_file, fcntl.LOCK_UN)


class Alarm:
    """Ends a wait early; safe to be set by a signal handler."""

    def __init__(self) -> None:
        self._receiver, self._sender = os.pipe()

    def set(self) -> None:
        """End this wait, or the next one."""
        os.write(self._sender, _NOTICE)

    def wait(self, seconds: float, channel: NoticeChannel | None = None) -> None:
        """Wait until the alarm is set, a notice arrives on `channel`, or the time is over."""
        select.select([self._receiver, *([channel.receiver] if channel is not None else [])], [], [], seconds)
