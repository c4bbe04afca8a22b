"""`warmcast bench engine`: what the engine adds to the evaluations of its networks, and what it saves."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine_peers import Bare, convolutions
from benchmarks.engine_place import Place, stand_in
from benchmarks.engine_processes import Size, peak_bytes, plain_loop, two_workers
from benchmarks.report import publish
from jobs.measures import STEP_SECONDS
from jobs.workers import totals
from models.checkpoint import load_checkpoint
from models.execution import Execution
from models.testing import write_tiny_checkpoint
from weather.bundled import find_checkpoint
from workers.runtime import Runtime

_GROUP_SIZE = 8
_REPEATS, _REPEATS_LARGE, _REPEATS_SHARED = 3, 2, 11


@dataclass(frozen=True)
class _Sizes:
    """How much is measured."""

    forecast: Size
    short: Size
    long: Size
    many: Size


_WHOLE = _Sizes(Size(16, 10, 4), Size(8, 10, 2), Size(8, 60, 2), Size(64, 4, 2))
_TINY = _Sizes(Size(16, 2, 2), Size(8, 2, 2), Size(8, 4, 2), Size(16, 2, 2))


def engine(*, json: Path | None, tiny: bool, threads: int | None, compiled: bool) -> dict[str, Any]:
    """Time whole forecasts of a warm worker (rows, diagnostics, Zarr on disk) beside two peers in the same run.

    `overhead_ratio` is their time over that of the same evaluations alone, the worse of the bundled checkpoint and a
    stand-in of 121 × 240; `eager_ratio` the time of a plain PyTorch loop over theirs, the best in float32;
    `memory_growth` the highest resident memory of 60 lead times over that of 10;
    `two_worker_ratio` the time of the evaluations alone over that of two one-thread workers; `convolution_share` the
    part of an evaluation that convolutions take, and `convolution_speed` their operations a second over those of a
    large matrix product. `compiled` times the compiled networks too: minutes more.
    `tiny` shrinks everything, so that tests can run it; its figures mean nothing.
    """
    if threads:
        torch.set_num_threads(threads)
    sizes = _TINY if tiny else _WHOLE
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        work = Path(folder)
        if tiny:
            write_tiny_checkpoint(work / "tiny", trained=False)
        demo = work / "tiny" if tiny else find_checkpoint("demo", ())
        grid = (17, 32) if tiny else (121, 240)
        grids = {"demo": demo, f"{grid[0]} × {grid[1]}": stand_in(work / "stand-in", *grid)}
        rows = [
            _timed(work / f"{name}-eager", name, path, sizes.forecast, Execution(), repeats)
            for (name, path), repeats in zip(grids.items(), (_REPEATS, _REPEATS_LARGE), strict=True)
        ]
        modes = [Execution(compiled=True)] if compiled else []
        modes += [Execution(precision="bfloat16")]
        rows += [_timed(work / str(index), "demo", demo, sizes.forecast, mode) for index, mode in enumerate(modes)]
        overhead = max(float(row["engine s"]) / float(row["evaluations s"]) for row in rows[: len(grids)])
        exact = [row for row in rows if row["networks"] == "demo" and row["precision"] == "float32"]
        share, speed = convolutions(load_checkpoint(demo, torch.device("cpu"))[0], _GROUP_SIZE)
        together = two_workers(work / "shared", demo, sizes.forecast, 1 if tiny else _REPEATS_SHARED)
        short, long, few, many = peak_bytes(
            work / "memory", demo, [sizes.short, sizes.long, replace(sizes.many, members=8), sizes.many]
        )
    ratios = {
        "overhead_ratio": overhead,
        "eager_ratio": max(float(row["plain loop s"]) / float(row["engine s"]) for row in exact),
        "convolution_share": share,
        "convolution_speed": speed,
        "diagnostics_share": max(float(row["diagnostics share"]) for row in rows),
        "two_worker_ratio": together,
        "memory_growth": long / short,
        "memory_a_member_kb": (many - few) / (sizes.many.members - 8) / 1e3,
    }
    title = f"{sizes.forecast.members} members × {sizes.forecast.num_lead_times} lead times, NFE {sizes.forecast.nfe}"
    return publish(f"{title}, {torch.get_num_threads()} threads", rows, ratios, json)


def _timed(
    folder: Path, name: str, checkpoint: Path, size: Size, execution: Execution, repeats: int = _REPEATS
) -> dict[str, Any]:
    """Time the engine, its evaluations alone and the plain loop in turns, each at its best of some."""
    networks, _ = load_checkpoint(checkpoint, torch.device("cpu"))
    bare, groups = Bare(networks, execution, _GROUP_SIZE), size.members // _GROUP_SIZE
    seconds: dict[str, list[float]] = {"engine": [], "evaluations": [], "plain loop": []}
    compiling = "on" if execution.compiled else "off"
    with (
        Place.of(folder, checkpoint, compile=compiling, precision=execution.precision) as place,
        plain_loop(checkpoint) as plain,
    ):
        runtime = Runtime(place.settings, place.database)
        forecast = {"members": size.members, "num_lead_times": size.num_lead_times, "nfe": size.nfe}
        warm_up = place.run(runtime, **forecast | {"num_lead_times": 1})[1] + bare.run(1, 1, 2)
        plain(folder / "plain.zarr", replace(size, num_lead_times=1))
        before = _seconds_by_phase(place)
        for repeat in range(repeats):
            seconds["engine"].append(place.run(runtime, **forecast)[1])
            seconds["evaluations"].append(bare.run(groups, size.num_lead_times, size.nfe))
            seconds["plain loop"].append(plain(folder / f"plain-{repeat}.zarr", size))
        spent = {phase: total - before.get(phase, 0.0) for phase, total in _seconds_by_phase(place).items()}
    best = {f"{work} s": min(times) for work, times in seconds.items()}
    share = spent["diagnostics"] / sum(seconds["engine"])
    return {
        "networks": name,
        "precision": execution.precision,
        "compiled": execution.compiled,
        **best,
        "overhead": best["engine s"] / best["evaluations s"],
        "plain loop over engine": best["plain loop s"] / best["engine s"],
        "diagnostics share": share,
        "warm-up s": warm_up,
    }


def _seconds_by_phase(place: Place) -> dict[str, float]:
    """Return what the place's workers have told of the phases of their lead times."""
    with place.database.read() as connection:
        counted = totals(connection)
    return {
        sample.labels[1]: value
        for sample, value in counted.items()
        if (sample.measure, sample.part) == (STEP_SECONDS.name, "sum")
    }
