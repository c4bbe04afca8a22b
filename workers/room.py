"""How many members the lanes of one worker process compute on their device, and whether one more forecast fits."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """The members that each lane computes at once, and the number that the device computes fastest in one batch.

    A lane is one of the workers of a process that share a device, identified by its number. Lane 0 may always begin if
    no other one computes; a further lane begins only beside others that do not fill the device.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def has_room(self, lane: int) -> bool:
        """Return whether a lane may begin with a forecast."""
        with self._lock:
            others = [held for other, held in self._held.items() if other != lane]
        if not others:
            return lane == 0
        return sum(members for members, _ in others) < min(best for _, best in others)

    def is_shared(self, lane: int) -> bool:
        """Return whether another lane computes, too."""
        with self._lock:
            return any(other != lane for other in self._held)

    @contextmanager
    def hold(self, lane: int, members: int, best: int) -> Iterator[None]:
        """Count `members` for a lane within the block; `best` is the number that the device computes fastest."""
        with self._lock:
            self._held[lane] = (members, best)
        try:
            yield
        finally:
            with self._lock:
                del self._held[lane]
