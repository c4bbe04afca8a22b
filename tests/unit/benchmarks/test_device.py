from collections.abc import Callable

import pytest

from tests.unit.benchmarks.conftest import Benchmark


def test_rows_are_of_both_grids_in_each_mode(bench: Callable[[str], Benchmark]) -> None:
    benchmark = bench("engine --device cpu")
    rows = benchmark.rows
    assert [(row["grid"], row["precision"], row["compiled"]) for row in rows] == [
        ("17 × 32", "bfloat16", False),
        ("16 × 32", "bfloat16", False),
        ("17 × 32", "float32", False),
        ("16 × 32", "float32", False),
    ]
    for row in rows:
        assert row["forecast ÷ bare"] == pytest.approx(row["forecast s"] / row["bare s"])
        assert {"warm_start %", "flow %", "encode %", "write %", "diagnostics %", "summary %"} <= row.keys()
    assert benchmark.result["overhead_large"] == rows[0]["forecast ÷ bare"]
    assert benchmark.result["overhead_small"] == rows[1]["forecast ÷ bare"]
