from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.benchmarks.conftest import Benchmark
from warmcast.cli import app

ROOT = Path(__file__).parents[3]
HOST_ONLY = f"engine --host-only --threads 2 --against {ROOT}"
RATIOS = {
    "engine": {
        "overhead_ratio",
        "convolution_share",
        "warm_start_cost",
        "convolution_speed",
        "eager_ratio",
        "diagnostics_share",
        "two_worker_ratio",
        "memory_growth",
        "memory_a_member_kb",
    },
    "engine --device cpu": {"overhead_large", "overhead_small"},
    HOST_ONLY: {
        "host_ratio",
        "before_ratio",
        "before_products_ratio",
        "host_memory_growth",
    },
    "estimate": {"time_ratio", "bytes_ratio"},
    "load": {"health_p99_seconds", "status_p99_seconds", "forecast_ratio", "memory_ratio"},
    "load --readers": {"forecast_ratio", "answered_share", "memory_growth", "position_p99_seconds"},
    "loader": {"memory_growth", "memory_share", "bare_ratio", "reads_a_chunk"},
    "networks": {"stem_ratio", "channels_last_ratio"},
    "polling": {"status_ratio", "unchanged_ratio"},
    "reading": {"reading_ratio"},
    "training": {"loop_ratio"},
    "scores": {"xskillscore_ratio", "scoringrules_ratio", "extra_memory_ratio"},
}
LONG = {"load", "load --readers", "engine", "polling", HOST_ONLY}
"""Those whose tiny form takes long."""


def _with_mark(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.campaign) if name in LONG else name


@pytest.mark.parametrize("name", [_with_mark(name) for name in RATIOS])
def test_every_benchmark_writes_and_prints_its_ratios(name: str, bench: Callable[[str], Benchmark]) -> None:
    benchmark = bench(name)
    assert set(benchmark.result) == RATIOS[name] | {"rows"}
    assert len(benchmark.rows) >= 3
    assert all(benchmark.result[ratio] > 0 for ratio in RATIOS[name])
    for ratio in RATIOS[name]:
        assert f"{ratio}: {benchmark.result[ratio]:.3g}" in benchmark.output


def test_every_benchmark_is_listed_here() -> None:
    output = CliRunner().invoke(app, ["bench", "--help"]).output
    for name in RATIOS:
        assert name.split()[0] in output


def test_an_unknown_benchmark_is_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "everything"])
    assert result.exit_code == 2
