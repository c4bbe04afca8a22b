"""`warmcast bench polling`: status requests a second, compared with a bare route that reads one row by its key."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measurement import publish_results, shortest_seconds_of_each
from benchmarks.polling_clients import poll, request_once
from benchmarks.polling_servers import serve, serve_row, serve_status
from benchmarks.workbench import Workbench
from jobs.dispatching.leases import claim, commit
from jobs.keys import create_key
from jobs.planning.plans import Plan
from jobs.submit import submit
from weather.bundled import find_named_checkpoint

_LEASE_SECONDS = 1e6


def bench_polling(*, json: Path | None, tiny: bool, database_url: str | None) -> dict[str, Any]:
    """Time status requests of a running forecast by 20 clients that hold their connections and cost next to nothing.

    Ratios: requests a second of the service over those of a bare Starlette route that reads the row of the forecast by
    its key, in the event loop, from the same database; and of requests with `If-None-Match` over those without. The
    service checks an API key. `database_url` names an empty PostgreSQL database; SQLite by default. `tiny` makes few
    requests for tests; its results mean nothing.
    """
    clients, polls = (4, 50) if tiny else (20, 5000)
    settings: dict[str, Any] = {} if database_url is None else {"database_url": database_url}
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        checkpoint = find_named_checkpoint("planet", ())
        with Workbench.open(Path(folder), checkpoint, **settings) as bench:
            forecast_id, secret = _start_forecast(bench)
            configured = bench.settings
        path, key = f"/v1/forecast/{forecast_id}", f"Authorization: Bearer {secret}"
        with serve(serve_status, configured) as service, serve(serve_row, configured.storage.sql_url) as bare:
            tag = request_once(service, path, key)["etag"]
            works: dict[str, Callable[[], object]] = {
                "a bare route": partial(poll, bare, path, (), clients, polls),
                "the service": partial(poll, service, path, (key,), clients, polls),
                "the service, unchanged": partial(poll, service, path, (key, f"If-None-Match: {tag}"), clients, polls),
            }
            seconds = shortest_seconds_of_each(works, repeats=1 if tiny else 4)
    rates = {name: polls / value for name, value in seconds.items()}
    ratios = {
        "status_ratio": rates["the service"] / rates["a bare route"],
        "unchanged_ratio": rates["the service, unchanged"] / rates["the service"],
    }
    rows = [{"status requests to": name, "requests a second": rate} for name, rate in rates.items()]
    return publish_results(f"One forecast, {clients} clients", rows, ratios, json)


def _start_forecast(bench: Workbench) -> tuple[str, str]:
    """Submit a forecast and record its first lead time, as a worker does; return its id and the secret of its key."""
    with bench.database.write() as connection:
        key, secret = create_key(connection, "bench")
    request = bench.request(members=8, num_lead_times=40, nfe=2)
    plan, data = Plan.of(request, bench.manifest), bench.settings.storage.data
    record, _ = submit(bench.database, data, key.id, plan, bench.state, bench.manifest)
    for lease in claim(bench.database, "bench", _LEASE_SECONDS, 1):
        with bench.database.write() as connection:
            commit(connection, lease, 1, _LEASE_SECONDS)
    return record.id, secret
