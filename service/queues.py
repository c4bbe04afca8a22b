"""The queues of one API process, and the results that its requests share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jobs.settings import LimitSettings
from service.series_batches import SeriesBatches
from service.shared_calls import SharedCalls
from service.work_queues import WorkQueue
from weather.exports.export import ExportPlan

_MAX_ARCHIVING = 2
_PICTURE_BYTES = 32_000_000
"""Memory for pictures: some fifty of them."""
_SERIES_BYTES = 16_000_000
"""Memory for time series: some hundred of them, of one place and 50 members."""
_MAX_EXPORTS = 200
"""Plans of exports, of some 50 kB each."""


@dataclass(frozen=True)
class Queues:
    """Queues for uploads, pictures, values and zips; results that are kept, and zips that are being built."""

    parsing: WorkQueue
    drawing: WorkQueue
    reading: WorkQueue
    archiving: WorkQueue
    pictures: SharedCalls[bytes]
    series: SharedCalls[bytes]
    series_batches: SeriesBatches
    exports: SharedCalls[ExportPlan]
    zips: SharedCalls[Path]

    @classmethod
    def open(cls, limits: LimitSettings) -> Self:
        """Return empty queues with the limits of the settings."""
        reading = WorkQueue("for values", at_once=limits.max_reading, max_waiting=limits.max_waiting)
        return cls(
            parsing=WorkQueue("with files", at_once=limits.max_parsing, max_waiting=limits.max_waiting),
            drawing=WorkQueue("for pictures", at_once=limits.max_drawing, max_waiting=limits.max_waiting),
            reading=reading,
            archiving=WorkQueue("for zips", at_once=_MAX_ARCHIVING, max_waiting=limits.max_waiting),
            pictures=SharedCalls(_PICTURE_BYTES, len),
            series=SharedCalls(_SERIES_BYTES, len),
            series_batches=SeriesBatches(reading),
            exports=SharedCalls(_MAX_EXPORTS, lambda _: 1),
            zips=SharedCalls(0, lambda _: 1),
        )
