from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine_processes import BenchmarkError
from benchmarks.host_path import bench_host_path, compute_host_ratios
from tests.unit.benchmarks.conftest import Benchmark
from tests.unit.benchmarks.test_benchmarks import HOST_ONLY


def _row(tree: str, products: bool, seconds: float) -> dict[str, Any]:
    return {"tree": tree, "products": products, "lead time s": seconds}


def test_ratios_are_to_the_limit_and_to_the_tree_before() -> None:
    this = [_row("this", False, 2.0), _row("this", True, 5.0), _row("limit", False, 1.6)]
    assert compute_host_ratios(this) == pytest.approx({"host_ratio": 1.25})
    before = [_row("before", False, 6.0), _row("before", True, 10.0)]
    expected = {"host_ratio": 1.25, "before_ratio": 3.0, "before_products_ratio": 2.0}
    assert compute_host_ratios(this + before) == pytest.approx(expected)


@pytest.mark.campaign
def test_rows_are_of_both_trees_with_and_without_products_and_of_the_limit(bench: Callable[[str], Benchmark]) -> None:
    rows = bench(HOST_ONLY).rows
    assert [(row["tree"], row["products"]) for row in rows] == [
        ("this", False),
        ("this", True),
        ("before", False),
        ("before", True),
        ("limit", False),
    ]
    for row in rows:
        assert row["lead time s"] > 0
        assert (row["summary %"] > 0) == row["products"]
        assert (row["encode %"] > 0) == (row["tree"] != "limit")


def test_a_tree_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/__init__.py").write_text("raise SystemExit(7)")
    with pytest.raises(BenchmarkError, match="The process of the tree `before` ended with code 7"):
        bench_host_path(json_path=None, tiny=True, threads=1, against=tmp_path)
