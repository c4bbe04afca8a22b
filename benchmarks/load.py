"""`warmcast bench load`: latencies and memory of the service, and the speed of a forecast, while it is under load."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.load_clients import Crowd, Figures, Target, crowd_of
from benchmarks.load_readers import bench_readers
from benchmarks.measurement import publish_results
from benchmarks.reading import make_messages
from benchmarks.serving import REQUEST, SAMPLE_SECONDS, RunningService, duration, pinned, serve_on_cores
from jobs.forecasts import ForecastRecord
from jobs.rows.states import OPEN, Status

_FULL = Crowd(pollers=200, probes=10, drawers=60, uploaders=44, idle=1000)
_TINY = Crowd(pollers=4, probes=2, drawers=3, uploaders=2, idle=10)


def bench_load(*, json: Path | None, tiny: bool, readers: bool) -> dict[str, Any]:
    """Load the service as many clients at once do; print what the clients measure and what a forecast loses by it.

    The worker computes with one thread on the first core; the API, its processes and all clients share the last core.
    Ratios: 99th percentiles of seconds by the clients' own clocks; the duration of a forecast under load over that of
    the same forecast at rest, the shortest of three each; and the highest memory of the API's process over that at
    rest. `tiny` makes everything small for tests; its results mean nothing. With `readers`, only readers of a running
    forecast load it: see `bench_readers`.
    """
    if readers:
        return bench_readers(json=json, tiny=tiny)
    crowd, rounds, members, lead_time = (_TINY, 1, 2, "1d") if tiny else (_FULL, 3, 16, "10d")
    cores = sorted(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder,
        serve_on_cores(Path(folder), cores) as service,
    ):
        upload = b"".join(make_messages(19, 36, 10) if tiny else make_messages(361, 720, 32))
        forecast = REQUEST | {"lead_time": lead_time, "members": members}
        target = Target(service.port, service.wait(service.submit(forecast)).id, upload)
        figures, at_rest, under_load = Figures(), [], []
        memory_at_rest, memory = service.memory_bytes(), 0
        with pinned(cores[-1]):
            for _ in range(rounds):
                at_rest.append(duration(service.wait(service.submit(forecast))))
                record, peak = asyncio.run(_run_under_load(service, crowd, target, service.submit(forecast), figures))
                under_load.append(duration(record))
                memory = max(memory, peak)
    ratios = {
        "health_p99_seconds": figures.percentile("healthz", 99),
        "status_p99_seconds": figures.percentile("status", 99),
        "forecast_ratio": min(under_load) / min(at_rest),
        "memory_ratio": memory / memory_at_rest,
    }
    title = (
        f"{crowd.pollers} clients read the status, {crowd.drawers} ask for maps, {crowd.uploaders} upload "
        f"{len(upload) / 1e6:.0f} MB, {crowd.idle} are idle. Forecast of {min(at_rest):.1f} s, API of "
        f"{memory_at_rest / 1e6:.0f} MB; under load {min(under_load):.1f} s and {memory / 1e6:.0f} MB"
    )
    return publish_results(title, figures.rows(), ratios, json)


async def _run_under_load(
    service: RunningService, crowd: Crowd, target: Target, forecast_id: str, figures: Figures
) -> tuple[ForecastRecord, int]:
    """Load the service until a forecast ends; return the forecast and the highest memory of the API's process."""
    memory = 0
    async with crowd_of(crowd, target, forecast_id, figures):
        while (record := service.read(forecast_id)).status in OPEN:
            memory = max(memory, service.memory_bytes())
            await asyncio.sleep(SAMPLE_SECONDS)
    assert record.status == Status.SUCCESSFUL, record.error
    return record, memory
