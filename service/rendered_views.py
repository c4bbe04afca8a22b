"""The JSON text of forecasts, kept until the forecast changes; only what changes with time is filled in anew."""

import json
import re
from collections import OrderedDict

from jobs.forecasts import ForecastRecord
from service.alert_views import count_evaluated_of
from service.outlooks import Outlook
from service.views import eta_seconds, seconds_per_lead, view_forecast, view_queue

_MAX_KEPT = 500
_CHANGING = re.compile(r'"seconds_per_lead":.*?(?=,"created":)')


class RenderedViews:
    """Texts of the newest 500 states of forecasts that were requested; for use by one thread."""

    def __init__(self, keep_hours: float | None = None) -> None:
        self._keep_hours = keep_hours
        self._kept: OrderedDict[tuple[object, ...], tuple[str, str]] = OrderedDict()

    def render(self, record: ForecastRecord, base: str, now: float, outlook: Outlook | None) -> bytes:
        """Return the JSON of `view_forecast` with the same arguments and the setting `keep_hours`."""
        state = (
            record.status,
            record.lead_times,
            record.data,
            record.priority,
            record.started,
            record.finished,
            record.phase,
            count_evaluated_of(record),
        )
        key = (record.id, base, record.batch_id, *state)
        parts = self._kept.get(key)
        if parts is None:
            arguments = record, base, now, outlook, self._keep_hours
            # the first match is what changes with time: no text of a caller precedes it
            before, after = _CHANGING.split(view_forecast(*arguments).model_dump_json(), maxsplit=1)
            parts = self._kept[key] = before, after
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        place = view_queue(record, outlook)
        changing = (
            f'"seconds_per_lead":{json.dumps(seconds_per_lead(record, now))},'
            f'"eta_seconds":{json.dumps(eta_seconds(record, now, outlook))}}},'
            f'"queue":{"null" if place is None else place.model_dump_json()}'
        )
        return f"{parts[0]}{changing}{parts[1]}".encode()
