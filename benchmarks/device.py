"""`warmcast bench engine --device`: whole forecasts on a device, compared with their time steps alone."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.host_path_process import ForecastRuns
from benchmarks.measurement import GrowingResults, resident_bytes
from benchmarks.workbench import Workbench, write_untrained_checkpoint
from jobs.mode import Mode, Precision
from models.forecaster import Forecaster
from models.noise import white_noise
from models.testing import write_tiny_checkpoint
from weather.bundled import find_named_checkpoint
from workers.device import find_device

_NFE = 6
_INIT_TIME = np.datetime64("2018-09-15T00", "s")
_MODES: tuple[tuple[Precision, bool], ...] = (("bfloat16", True), ("bfloat16", False), ("float32", False))
"""Precision, and whether the networks are compiled: first the mode in which a worker with a GPU computes."""


@dataclass(frozen=True)
class _Case:
    """A checkpoint, and the members in one group and lead times of the forecasts that are timed."""

    name: str
    checkpoint: Path
    members: int
    num_lead_times: int


def bench_device(*, json_path: Path | None, tiny: bool, device: str) -> dict[str, Any]:
    """Time forecasts of 50 members in one group on a device, in float32, in bfloat16, and compiled in bfloat16.

    They run with all that belongs to them: noise, copies, diagnostics, summary, chunks on the disk and rows.

    - `overhead_large`, `overhead_small`: time of a compiled forecast over that of the same time steps with nothing
      beside, on 121 × 240 and on 48 × 96.
    """
    results = GrowingResults(json_path)
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        work, modes = Path(folder), _MODES[1:] if tiny else _MODES
        cases = list(_list_cases(work, tiny=tiny))
        for precision, compiled in modes:
            for case in cases:
                place = work / f"{case.name}-{precision}-{compiled}"
                results.add_row(_time_mode(place, case, device, precision, compiled=compiled, tiny=tiny))
    for name, row in zip(("overhead_large", "overhead_small"), results.rows, strict=False):
        results.add_ratios({name: row["forecast ÷ bare"]})
    return results.publish(f"{cases[0].members} members, NFE {_NFE}, {_describe(device)}")


def _list_cases(work: Path, *, tiny: bool) -> Iterator[_Case]:
    grid = (17, 32) if tiny else (121, 240)
    large = write_untrained_checkpoint(work / "untrained", *grid)
    if tiny:
        write_tiny_checkpoint(work / "tiny", trained=False)
        yield _Case("17 × 32", large, 3, 2)
        yield _Case("16 × 32", work / "tiny", 3, 2)
    else:
        yield _Case("121 × 240", large, 50, 40)
        yield _Case("48 × 96", find_named_checkpoint("planet", ()), 50, 60)


def _describe(device: str) -> str:
    target = find_device(device)
    name = torch.cuda.get_device_name(target) if target.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{device}: {name}, PyTorch {torch.__version__}"


def _time_mode(
    folder: Path, case: _Case, device: str, precision: Precision, *, compiled: bool, tiny: bool
) -> dict[str, Any]:
    """Time forecasts and bare steps alternately in one mode; return the shortest times as a row."""
    settings: dict[str, Any] = {"device": device, "compile": "on" if compiled else "off", "precision": precision}
    mode, repeats = Mode(compiled=compiled, precision=precision), 1 if tiny else 2
    with Workbench.open(folder, case.checkpoint, **settings) as bench:
        runs = ForecastRuns(bench)
        began = time.perf_counter()
        runs.run(case.members, 1, nfe=_NFE)
        runs.engine.wait_for_compilation()
        warm_up = time.perf_counter() - began
        runs.run(case.members, 4, nfe=_NFE)
        request = bench.request(members=case.members, num_lead_times=1, nfe=_NFE, group_size=case.members)
        forecaster = runs.engine.load_checkpoint(request)[1].find(mode, request.sampling)
        assert forecaster.execution.is_compiled == compiled, "networks cannot be compiled on this machine"
        bare = [_time_steps(forecaster, case) for _ in range(1 + repeats)][1:]
        _reset_peak(runs.engine.device)
        results = [runs.run(case.members, case.num_lead_times, nfe=_NFE) for _ in range(repeats)]
        peak = _peak_bytes(runs.engine.device)
    best = min(results, key=lambda result: float(result["seconds"]))
    field_bytes = 4 * case.members * np.prod((case.num_lead_times, *forecaster.spec.grid.grid.shape, 2))
    return {
        "grid": case.name,
        "members": case.members,
        "lead times": case.num_lead_times,
        "precision": precision,
        "compiled": compiled,
        "bare s": min(bare),
        "forecast s": best["seconds"],
        "forecast ÷ bare": best["seconds"] / min(bare),
        "warm-up s": warm_up,
        "peak GB": peak / 1e9,
        "MB a second": float(field_bytes) / best["seconds"] / 1e6,
        **{f"{phase} %": 100 * seconds / best["seconds"] for phase, seconds in best["phases"].items()},
    }


def _time_steps(forecaster: Forecaster, case: _Case) -> float:
    """Return the seconds of a forecast's time steps on random frames, with noise that is on the device already."""
    shape = (len(forecaster.spec.variables), *forecaster.spec.grid.grid.shape)
    noise = white_noise(0, _INIT_TIME, range(case.members), 0, shape).to(forecaster.device)
    frames = [5 * noise, 5 * noise]
    _synchronise(forecaster.device)
    began = time.perf_counter()
    for step in range(case.num_lead_times):
        states = forecaster.step(frames, _INIT_TIME + step * forecaster.spec.time_step, noise)
        frames = [states, frames[0]]
    _synchronise(forecaster.device)
    return time.perf_counter() - began


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_bytes(device: torch.device) -> int:
    """Return the peak of the GPU's memory, or on a CPU what the process takes now."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_bytes()
