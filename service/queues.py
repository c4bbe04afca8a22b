"""The queues of one API process, and the results that its requests share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jobs.settings import LimitSettings
from service.shared_calls import SharedCalls
from service.work_queues import WorkQueue

_MAX_ARCHIVING = 2
_PICTURE_BYTES = 32_000_000
"""Memory for pictures: some fifty of them."""
_SERIES_BYTES = 16_000_000
"""Memory for time series: some hundred of them, of one place and 50 members."""


@dataclass(frozen=True)
class Queues:
    """Queues for uploads, pictures, time series and zips; what is kept of the two, and zips that are being built."""

    parsing: WorkQueue
    drawing: WorkQueue
    reading: WorkQueue
    archiving: WorkQueue
    pictures: SharedCalls[bytes]
    series: SharedCalls[bytes]
    zips: SharedCalls[Path]

    @classmethod
    def open(cls, limits: LimitSettings) -> Self:
        """Return empty queues with the limits of the settings."""
        return cls(
            parsing=WorkQueue("with files", at_once=limits.max_parsing, max_waiting=limits.max_waiting),
            drawing=WorkQueue("for pictures", at_once=limits.max_drawing, max_waiting=limits.max_waiting),
            reading=WorkQueue("for time series", at_once=limits.max_reading, max_waiting=limits.max_waiting),
            archiving=WorkQueue("for zips", at_once=_MAX_ARCHIVING, max_waiting=limits.max_waiting),
            pictures=SharedCalls(_PICTURE_BYTES, len),
            series=SharedCalls(_SERIES_BYTES, len),
            zips=SharedCalls(0, lambda _: 1),
        )
