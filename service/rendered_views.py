"""The JSON text of forecasts, which is kept until the forecast changes; only the remaining time is filled in anew."""

import json
import re
from collections import OrderedDict

from jobs.forecasts import ForecastRecord
from service.views import eta_seconds, view_forecast

_MAX_KEPT = 500
_ETA = re.compile(r'(?<="eta_seconds":)[^}]*')


class RenderedViews:
    """Texts of the newest 500 states of forecasts that were requested; for use by one thread."""

    def __init__(self, keep_hours: float | None = None) -> None:
        self._keep_hours = keep_hours
        self._kept: OrderedDict[tuple[object, ...], tuple[str, str]] = OrderedDict()

    def render(self, record: ForecastRecord, base: str, now: float, planned: float | None) -> bytes:
        """Return the JSON of `view_forecast` with the same arguments and the setting `keep_hours`."""
        state = (record.status, record.lead_times, record.data, record.priority, record.started, record.finished)
        key = (record.id, base, record.batch_id, *state)
        parts = self._kept.get(key)
        if parts is None:
            arguments = record, base, now, planned, self._keep_hours
            # the first match is the remaining time: no text of a caller precedes it
            before, after = _ETA.split(view_forecast(*arguments).model_dump_json(), maxsplit=1)
            parts = self._kept[key] = before, after
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return f"{parts[0]}{json.dumps(eta_seconds(record, now, planned))}{parts[1]}".encode()
