"""`warmcast bench estimate`: planned time and bytes of forecasts against the measured ones."""

import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks.measurement import publish_results
from benchmarks.workbench import Workbench
from jobs.planning.measured import load_estimator
from jobs.planning.plans import Plan
from jobs.rows.tables import forecasts
from models.testing import write_tiny_checkpoint
from weather.bundled import find_named_checkpoint
from weather.initial_state import read_initial_state
from weather.manifest import read_manifest
from workers.commands import sample_files
from workers.loop import Worker

_FIRST_SIZE = (16, 4, 4)
_SIZES = ((8, 4, 4), (16, 10, 6), (32, 20, 2))
_TINY_SIZES = ((8, 4, 2), (16, 6, 4), (24, 12, 2))
"""Members, lead times, evaluations per lead time."""


def bench_estimates(*, json: Path | None, tiny: bool, threads: int | None) -> dict[str, Any]:
    """Run one forecast to measure speed and compression, then plan and run three others; return the comparison.

    The result has `rows`, the planned and measured seconds and bytes of each forecast; it is printed, and written as
    JSON to `json` if given. `time_ratio` and `bytes_ratio` are the largest factor, above or below, between plan and
    measurement over the three; 1 is perfect. `tiny` takes an untrained checkpoint on a coarse grid, for tests; its
    seconds mean nothing.
    """
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        checkpoint = Path(folder) / "tiny" if tiny else find_named_checkpoint("planet", ())
        if tiny:
            write_tiny_checkpoint(checkpoint, trained=False)
        state = read_initial_state(sample_files(), read_manifest(checkpoint).model, None)
        with Workbench.open(Path(folder) / "data", checkpoint, state, threads=threads) as bench:
            worker = Worker(bench.settings, bench.database)
            _run(bench, worker, *_FIRST_SIZE)
            rows = [_compare(bench, worker, *size) for size in (_TINY_SIZES if tiny else _SIZES)]
        machine = worker.machine
    ratios = {"time_ratio": worst_factor(rows, "s ratio"), "bytes_ratio": worst_factor(rows, "MB ratio")}
    return publish_results(
        f"Planned and measured, on {machine.device_kind}, {machine.threads} threads", rows, ratios, json
    )


def _compare(bench: Workbench, worker: Worker, members: int, num_lead_times: int, nfe: int) -> dict[str, Any]:
    """Plan and run a forecast; return the planned and the measured seconds and bytes as a row."""
    plan, seconds, store_bytes = _run(bench, worker, members, num_lead_times, nfe)
    assert plan.seconds is not None
    assert plan.store_bytes is not None
    return {
        "members": members,
        "lead times": num_lead_times,
        "nfe": nfe,
        "planned s": plan.seconds,
        "took s": seconds,
        "s ratio": plan.seconds / seconds,
        "planned MB": plan.store_bytes / 1e6,
        "took MB": store_bytes / 1e6,
        "MB ratio": plan.store_bytes / store_bytes,
        "memory MB": (plan.memory_bytes or 0) / 1e6,
    }


def _run(bench: Workbench, worker: Worker, members: int, num_lead_times: int, nfe: int) -> tuple[Plan, float, int]:
    """Plan and run a forecast; return the plan, and the measured seconds and bytes."""
    size = {"members": members, "num_lead_times": num_lead_times, "nfe": nfe}
    worker.record_heartbeat(now=True)
    with bench.database.read() as connection:
        estimator = load_estimator(connection)
    plan = Plan.of(bench.request(**size), bench.manifest).with_estimates(estimator, bench.manifest, "bench")
    forecast_id = bench.submit(**size)
    began = time.perf_counter()
    while worker.run():
        pass
    seconds = time.perf_counter() - began
    with bench.database.read() as connection:
        store_bytes = connection.scalar(select(forecasts.c.store_bytes).where(forecasts.c.id == forecast_id))
    assert store_bytes is not None
    return plan, seconds, store_bytes


def worst_factor(rows: list[dict[str, Any]], column: str) -> float:
    """Return the largest factor by which a ratio in `column` is above or below 1."""
    ratios = [float(row[column]) for row in rows]
    return max(*ratios, *(1 / ratio for ratio in ratios))
