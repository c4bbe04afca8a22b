"""`warmcast bench estimate`: what forecasts were planned to take beside what they took, in one process."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from benchmarks.report import publish
from jobs.database import Database
from jobs.plans import Plan, plan_of
from jobs.request import ForecastRequest
from jobs.settings import Settings
from jobs.speeds import look_out
from jobs.submit import submit
from jobs.tables import forecasts
from models.testing import write_tiny_checkpoint
from weather.bundled import find_checkpoint
from weather.initial_state import InitialState, read_initial_state
from weather.manifest import Manifest, read_manifest
from workers.commands import sample_files
from workers.runtime import Runtime

_GROUP_SIZE = 8
_LEARNT_FROM = (16, 4, 4)
_SIZES = ((8, 4, 4), (16, 10, 6), (32, 20, 2))
_TINY_SIZES = ((8, 4, 2), (16, 6, 4), (24, 12, 2))
"""Members, lead times, evaluations a step."""


@dataclass(frozen=True)
class _Place:
    """A worker with its own database and folder, a checkpoint, and a state to start from."""

    settings: Settings
    database: Database
    runtime: Runtime
    checkpoint: Path
    manifest: Manifest
    state: InitialState


def estimates(*, json: Path | None, tiny: bool, threads: int | None) -> dict[str, Any]:
    """Let one forecast teach its speed, then plan and run three others, and publish the ratios of both.

    `time_ratio` and `bytes_ratio` are the worst over the three, whichever way: 1 is perfect. `tiny` takes an untrained
    checkpoint on a coarse grid, so that tests can run it; its seconds mean nothing.
    """
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        place = _place(Path(folder), tiny=tiny, threads=threads)
        _run(place, *_LEARNT_FROM)
        rows = []
        for members, num_lead_times, nfe in _TINY_SIZES if tiny else _SIZES:
            plan, seconds, store_bytes = _run(place, members, num_lead_times, nfe)
            assert plan.seconds is not None
            assert plan.store_bytes is not None
            rows.append(
                {
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
            )
        place.database.close()
        machine = place.runtime.machine
    ratios = {"time_ratio": _worst(rows, "s ratio"), "bytes_ratio": _worst(rows, "MB ratio")}
    return publish(f"Planned and real, on {machine.device}, {machine.threads} threads", rows, ratios, json)


def _place(folder: Path, *, tiny: bool, threads: int | None) -> _Place:
    checkpoint = folder / "tiny" if tiny else find_checkpoint("demo", ())
    if tiny:
        write_tiny_checkpoint(checkpoint, trained=False)
    manifest = read_manifest(checkpoint)
    settings = Settings(data=folder / "data", threads=threads)
    settings.data.mkdir()
    database = Database(settings.url)
    database.migrate()
    state = read_initial_state(sample_files(), manifest.model, None)
    return _Place(settings, database, Runtime(settings, database), checkpoint, manifest, state)


def _run(place: _Place, members: int, num_lead_times: int, nfe: int) -> tuple[Plan, float, int]:
    """Return the plan of a forecast, the seconds that it took and its bytes."""
    request = ForecastRequest(
        checkpoint=str(place.checkpoint),
        checkpoint_digest=place.manifest.digest,
        initial_state_digest=place.state.digest,
        sources=place.state.sources,
        init_time=np.datetime_as_string(place.state.init_time, "s"),
        lead_hours=num_lead_times * place.manifest.model.time_step_hours,
        members=members,
        group_size=_GROUP_SIZE,
        seed=0,
        sampling=place.manifest.sampling.changed(nfe=nfe),
    )
    place.runtime.tell_alive(now=True)
    with place.database.read() as connection:
        plan = plan_of(look_out(connection), request, place.manifest)
    record, _ = submit(place.database, place.settings.data, "bench", request, place.state, place.manifest)
    began = time.perf_counter()
    while place.runtime.run():
        pass
    seconds = time.perf_counter() - began
    with place.database.read() as connection:
        taken = connection.scalar(select(forecasts.c.store_bytes).where(forecasts.c.id == record.id))
    assert taken is not None
    return plan, seconds, taken


def _worst(rows: list[dict[str, Any]], column: str) -> float:
    ratios = [float(row[column]) for row in rows]
    return max(*ratios, *(1 / ratio for ratio in ratios))
