"""`warmcast bench load --readers`: what 200 readers of a running forecast cost it, and the memory of the API."""

import asyncio
import itertools
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load_clients import Figures, poll, start_later
from benchmarks.measurement import publish_results
from benchmarks.serving import REQUEST, SAMPLE_SECONDS, RunningService, duration, pinned, serve_on_cores
from jobs.forecasts import ForecastRecord
from jobs.rows.states import OPEN, Status
from weather.stores.layout import ENSEMBLE

_WARM_REQUESTS = 5000
"""Requests after which the memory at the begin is measured: until then the process fills its caches, of fixed size."""


def bench_readers(*, json: Path | None, tiny: bool) -> dict[str, Any]:
    """Read running forecasts as 200 clients do, once a second each: status, time series at a place, a chunk, in turn.

    The worker computes with one thread on the first core; the API, its processes and all clients share the last core.
    Ratios: the duration of a forecast with its readers over that of the same forecast alone, the shortest of three
    each; the share of requests that were answered; the memory of the API after 25 000 requests over that after 5000;
    and the 99th percentile of a time series' seconds. `tiny` makes everything small for tests; its results mean
    nothing.
    """
    readers, requests, rounds, members, lead_time = (4, 4, 1, 2, "3d") if tiny else (200, 25_000, 3, 16, "10d")
    cores, figures = sorted(os.sched_getaffinity(0)), Figures()
    with (
        tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder,
        serve_on_cores(Path(folder), cores) as service,
    ):
        forecast = REQUEST | {"lead_time": lead_time, "members": members}
        service.wait(service.submit(forecast))
        at_rest: list[float] = []
        under_load: list[float] = []
        memory: list[int] = []
        with pinned(cores[-1]):
            while len(under_load) < rounds or figures.count() < requests:
                if len(at_rest) < rounds:
                    at_rest.append(duration(service.wait(service.submit(forecast))))
                record = asyncio.run(_read_until_end(service, readers, service.submit(forecast), figures))
                under_load.append(duration(record))
                if not memory and (tiny or figures.count() >= _WARM_REQUESTS):
                    memory.append(service.memory_bytes())
        memory.append(service.memory_bytes())
    ratios = {
        "forecast_ratio": min(under_load) / min(at_rest),
        "answered_share": figures.count_answered() / figures.count(),
        "memory_growth": memory[-1] / memory[0],
        "position_p99_seconds": figures.percentile("position", 99),
    }
    title = (
        f"{readers} readers, {figures.count()} requests. Forecast of {min(at_rest):.1f} s, with readers "
        f"{min(under_load):.1f} s; API of {memory[0] / 1e6:.0f} MB, at the end {memory[-1] / 1e6:.0f} MB"
    )
    return publish_results(title, figures.rows(), ratios, json)


async def _read_until_end(service: RunningService, readers: int, forecast_id: str, figures: Figures) -> ForecastRecord:
    """Keep the readers of a forecast busy from its first lead time until it ends, and return it."""
    while not (record := service.read(forecast_id)).lead_times:
        await asyncio.sleep(SAMPLE_SECONDS)
    has_ended = asyncio.Event()
    requests = [
        itertools.takewhile(lambda _: not has_ended.is_set(), _requests(forecast_id, n)) for n in range(readers)
    ]
    tasks = [
        asyncio.ensure_future(start_later(number / readers, partial(poll, service.port, 1.0, each, figures)))
        for number, each in enumerate(requests)
    ]
    while (record := service.read(forecast_id)).status in OPEN:
        await asyncio.sleep(SAMPLE_SECONDS)
    has_ended.set()
    await asyncio.gather(*tasks)
    assert record.status == Status.SUCCESSFUL, record.error
    return record


def _requests(forecast_id: str, reader: int) -> Iterator[tuple[str, str]]:
    """Yield the requests of a reader, which looks at a place of its own: its kind and its path."""
    home = f"/v1/forecast/{forecast_id}"
    longitude, latitude = (37.3 * reader) % 360, (11.9 * reader) % 160 - 80
    paths = {
        "status": home,
        "position": f"{home}/position?coords=POINT({longitude:.1f}%20{latitude:.1f})&values=statistics",
        "chunk": f"{home}/{ENSEMBLE}/u10/c.0.0.0.0.0",
    }
    yield from itertools.islice(itertools.cycle(paths.items()), reader % len(paths), None)
