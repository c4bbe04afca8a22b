from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.engine import compute_ratios
from tests.unit.benchmarks.conftest import Benchmark


def _row(
    engine: float, evaluations: float, plain: float, share: float = 0.1, precision: str = "float32"
) -> dict[str, Any]:
    return {
        "engine s": engine,
        "evaluations s": evaluations,
        "plain loop s": plain,
        "diagnostics share": share,
        "precision": precision,
    }


def test_the_overhead_is_that_of_the_worse_checkpoint_in_eager_mode() -> None:
    ratios = compute_ratios([_row(11, 10, 20), _row(36, 30, 60)], [_row(90, 10, 20)])
    assert ratios["overhead_ratio"] == pytest.approx(1.2)


def test_the_plain_loop_is_compared_with_the_best_mode_of_full_precision() -> None:
    eager = [_row(10, 9, 20), _row(10, 9, 90)]
    assert compute_ratios(eager, [])["eager_ratio"] == 2
    compiled, lower = _row(5, 4, 20), _row(1, 1, 20, precision="bfloat16")
    assert compute_ratios(eager, [lower])["eager_ratio"] == 2
    assert compute_ratios(eager, [compiled, lower])["eager_ratio"] == 4


def test_the_share_of_diagnostics_is_the_largest_of_all_rows() -> None:
    ratios = compute_ratios([_row(1, 1, 1, 0.1), _row(1, 1, 1, 0.2)], [_row(1, 1, 1, 0.3, "bfloat16")])
    assert ratios["diagnostics_share"] == 0.3


@pytest.mark.campaign
def test_ratios_follow_from_the_rows(bench: Callable[[str], Benchmark]) -> None:
    benchmark = bench("engine")
    for name, value in compute_ratios(benchmark.rows[:2], benchmark.rows[2:]).items():
        assert benchmark.result[name] == pytest.approx(value)


@pytest.mark.campaign
def test_rows_are_of_both_checkpoints_in_float32_and_of_planet_in_bfloat16(bench: Callable[[str], Benchmark]) -> None:
    rows = bench("engine").rows
    assert [(row["networks"], row["precision"], row["compiled"]) for row in rows] == [
        ("planet", "float32", False),
        ("17 × 32", "float32", False),
        ("planet", "bfloat16", False),
    ]
    for row in rows:
        assert row["overhead"] == pytest.approx(row["engine s"] / row["evaluations s"])
        assert row["plain loop over engine"] == pytest.approx(row["plain loop s"] / row["engine s"])
        assert 0 < row["diagnostics share"] < 1


@pytest.mark.campaign
def test_convolutions_and_diagnostics_take_shares_of_the_time(bench: Callable[[str], Benchmark]) -> None:
    result = bench("engine").result
    assert 0 < result["convolution_share"] < 1
    assert np.isfinite(result["warm_start_cost"])
    assert 0 < result["diagnostics_share"] < 1
