"""The queues of one API process, and the results that its requests share."""

from dataclasses import dataclass
from typing import Self

from jobs.settings import LimitSettings
from service.shared_calls import SharedCalls
from service.work_queues import WorkQueue

_PICTURE_BYTES = 32_000_000
"""Memory for pictures: some fifty of them."""


@dataclass(frozen=True)
class Queues:
    """Queues for reading uploads and for drawing; the pictures that are kept."""

    parsing: WorkQueue
    drawing: WorkQueue
    pictures: SharedCalls[bytes]

    @classmethod
    def open(cls, limits: LimitSettings) -> Self:
        """Return empty queues with the limits of the settings."""
        return cls(
            parsing=WorkQueue("with files", at_once=limits.max_parsing, max_waiting=limits.max_waiting),
            drawing=WorkQueue("for pictures", at_once=limits.max_drawing, max_waiting=limits.max_waiting),
            pictures=SharedCalls(_PICTURE_BYTES, len),
        )
