"""The log of a forecast: its lines, read once."""

import json
from typing import Any

from warmcast.exchange import Request, Service, Steps, forecast_path


def log(service: Service, forecast_id: str, *, since: int | str = 0) -> Steps[list[dict[str, Any]]]:
    """Return the lines of the log of this forecast, oldest first: `id`, `time`, `level`, `kind` and `message` of each.

    `since` is the `id` of a line, or a time in UTC: only later lines are returned.
    """
    request = Request("GET", forecast_path(forecast_id, "log"), {"since": str(since)})
    answer = yield from service.call(request)
    return [json.loads(line) for line in answer.content.splitlines()]
