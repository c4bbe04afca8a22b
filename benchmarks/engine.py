"""`warmcast bench engine`: time and memory of forecasts, compared with evaluations alone and with a plain loop."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.device import bench_device
from benchmarks.engine_peers import BareEvaluations, measure_convolutions, measure_warm_start_cost
from benchmarks.engine_processes import Size, measure_peak_bytes, measure_two_workers, start_plain_loop
from benchmarks.host_path import bench_host_path
from benchmarks.measurement import GrowingResults
from benchmarks.workbench import Workbench, write_untrained_checkpoint
from jobs.counters import STEP_SECONDS
from jobs.dispatching.live_workers import sum_counters
from models.checkpoint import load_checkpoint
from models.compilation import Compiler
from models.execution import Execution
from models.testing import write_tiny_checkpoint
from weather.bundled import find_named_checkpoint
from workers.loop import Worker

_GROUP_SIZE = 8


@dataclass(frozen=True)
class _Sizes:
    """Sizes of the forecasts that are measured, and how often each measurement is repeated."""

    forecast: Size
    short: Size
    long: Size
    many: Size
    repeats: int
    repeats_large: int
    repeats_shared: int
    warm_ups: int


_WHOLE = _Sizes(Size(16, 10, 4), Size(8, 10, 2), Size(8, 60, 2), Size(64, 4, 2), 3, 2, 11, 6)
_TINY = _Sizes(Size(16, 2, 2), Size(8, 2, 2), Size(8, 4, 2), Size(16, 2, 2), 1, 1, 1, 1)


def bench_engine(
    *,
    json: Path | None,
    tiny: bool,
    threads: int | None,
    compiled: bool,
    host_only: bool = False,
    against: Path | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Measure the engine: against peers on the CPU, on a `device`, or the host's work alone, with `host_only`.

    The host's work is also measured in the tree `against`.
    """
    if host_only:
        return bench_host_path(json_path=json, tiny=tiny, threads=threads, against=against)
    if device is not None:
        return bench_device(json_path=json, tiny=tiny, device=device)
    return bench_cpu(json=json, tiny=tiny, threads=threads, compiled=compiled)


def bench_cpu(*, json: Path | None, tiny: bool, threads: int | None, compiled: bool) -> dict[str, Any]:
    """Time whole forecasts of a warm worker (rows, diagnostics, Zarr on disk) against two peers in the same run.

    - `overhead_ratio`: time of a forecast over that of its evaluations alone, the larger one of the bundled checkpoint
      and an untrained one on 121 × 240.
    - `eager_ratio`: time of a plain PyTorch loop over that of a forecast, the best in float32.
    - `memory_growth`: peak of resident memory of 60 lead times over that of 10.
    - `two_worker_ratio`: time of the evaluations alone, by two processes, over that of two one-thread workers.
    - `warm_start_cost`: what a time step of the bundled checkpoint costs besides its NFE evaluations of the flow, in
      such evaluations.
    - `convolution_share`: part of an evaluation's time that is spent in convolutions.
    - `convolution_speed`: operations per second of convolutions over those of a large matrix product.

    `compiled` also measures compiled networks, which takes minutes longer. `tiny` makes everything small for tests; its
    results mean nothing.
    """
    if threads:
        torch.set_num_threads(threads)
    sizes = _TINY if tiny else _WHOLE
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        work = Path(folder)
        if tiny:
            write_tiny_checkpoint(work / "tiny", trained=False)
        planet = work / "tiny" if tiny else find_named_checkpoint("planet", ())
        grid = (17, 32) if tiny else (121, 240)
        large = write_untrained_checkpoint(work / "untrained", *grid)
        results = GrowingResults(json)
        for name, checkpoint, repeats in (
            ("planet", planet, sizes.repeats),
            (f"{grid[0]} × {grid[1]}", large, sizes.repeats_large),
        ):
            results.add_row(_time_engine(work / name, name, checkpoint, sizes.forecast, Execution(), repeats))
        modes = [Execution(Compiler())] if compiled else []
        modes += [Execution(precision="bfloat16")]
        for index, mode in enumerate(modes):
            place = work / f"mode-{index}"
            results.add_row(_time_engine(place, "planet", planet, sizes.forecast, mode, sizes.repeats))
        results.add_ratios(compute_ratios(results.rows[:2], results.rows[2:]))
        _measure_other_ratios(results, work, planet, sizes)
    size = sizes.forecast
    evaluations = f"NFE {size.nfe}, {size.nfe + 1} network evaluations a time step with that of the warm start"
    title = f"{size.members} members × {size.num_lead_times} lead times, {evaluations}"
    return results.publish(f"{title}, {torch.get_num_threads()} threads")


def compute_ratios(eager: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the ratios of the timed forecasts; the first eager row is the checkpoint `planet` in float32."""
    exact = [eager[0], *(row for row in others if row["precision"] == "float32")]
    return {
        "overhead_ratio": max(row["engine s"] / row["evaluations s"] for row in eager),
        "eager_ratio": max(row["plain loop s"] / row["engine s"] for row in exact),
        "diagnostics_share": max(row["diagnostics share"] for row in (*eager, *others)),
    }


def _measure_other_ratios(results: GrowingResults, work: Path, planet: Path, sizes: _Sizes) -> None:
    """Measure the ratios that need no timed forecasts: speed of convolutions, two workers, growth of memory."""
    networks, _ = load_checkpoint(planet, torch.device("cpu"))
    results.add_ratios({"warm_start_cost": measure_warm_start_cost(networks, _GROUP_SIZE, sizes.repeats)})
    share, speed = measure_convolutions(networks, _GROUP_SIZE)
    results.add_ratios({"convolution_share": share, "convolution_speed": speed})
    two_workers = measure_two_workers(work / "shared", planet, sizes.forecast, sizes.repeats_shared)
    results.add_ratios({"two_worker_ratio": two_workers})
    short, long, few, many = measure_peak_bytes(
        work / "memory", planet, [sizes.short, sizes.long, replace(sizes.many, members=8), sizes.many], sizes.warm_ups
    )
    a_member = (many - few) / (sizes.many.members - 8) / 1e3
    results.add_ratios({"memory_growth": long / short, "memory_a_member_kb": a_member})


def _time_engine(
    folder: Path, name: str, checkpoint: Path, size: Size, execution: Execution, repeats: int
) -> dict[str, Any]:
    """Time engine, evaluations alone and a plain PyTorch loop alternately; return the shortest times as a row."""
    networks, _ = load_checkpoint(checkpoint, torch.device("cpu"))
    bare, groups = BareEvaluations(networks, execution, _GROUP_SIZE), size.members // _GROUP_SIZE
    seconds: dict[str, list[float]] = {"engine": [], "evaluations": [], "plain loop": []}
    compiling = "on" if execution.is_compiled else "off"
    with (
        Workbench.open(folder, checkpoint, compile=compiling, precision=execution.precision) as bench,
        start_plain_loop(checkpoint) as plain,
    ):
        worker = Worker(bench.settings, bench.database)
        forecast = {"members": size.members, "num_lead_times": size.num_lead_times, "nfe": size.nfe}
        warm_up = bench.run(worker, **forecast | {"num_lead_times": 1})[1] + bare.run(1, 1, 2)
        worker.wait_for_compilation()
        bench.run(worker, **forecast | {"num_lead_times": 1})
        plain(folder / "plain.zarr", replace(size, num_lead_times=1))
        before = _seconds_by_phase(bench)
        for repeat in range(repeats):
            seconds["engine"].append(bench.run(worker, **forecast)[1])
            seconds["evaluations"].append(bare.run(groups, size.num_lead_times, size.nfe))
            seconds["plain loop"].append(plain(folder / f"plain-{repeat}.zarr", size))
        phases = {phase: total - before.get(phase, 0.0) for phase, total in _seconds_by_phase(bench).items()}
    best = {f"{kind} s": min(times) for kind, times in seconds.items()}
    share = phases["diagnostics"] / sum(seconds["engine"])
    return {
        "networks": name,
        "precision": execution.precision,
        "compiled": execution.is_compiled,
        **best,
        "overhead": best["engine s"] / best["evaluations s"],
        "plain loop over engine": best["plain loop s"] / best["engine s"],
        "diagnostics share": share,
        "warm-up s": warm_up,
    }


def _seconds_by_phase(bench: Workbench) -> dict[str, float]:
    """Return the seconds spent in each phase of computing lead times, such as `flow`, summed over all workers."""
    with bench.database.read() as connection:
        counted = sum_counters(connection)
    return {
        sample.labels[1]: value
        for sample, value in counted.items()
        if (sample.metric, sample.part) == (STEP_SECONDS.name, "sum")
    }
