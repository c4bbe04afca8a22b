from collections.abc import Callable

import pytest

from tests.unit.benchmarks.conftest import Benchmark


def test_the_memory_format_changes_no_parameter_and_the_stem_adds_some(bench: Callable[[str], Benchmark]) -> None:
    chosen, contiguous, bare = (row["parameters (M)"] for row in bench("networks").rows)
    assert chosen == contiguous > bare > 0


def test_ratios_compare_the_chosen_design_with_the_others(bench: Callable[[str], Benchmark]) -> None:
    benchmark = bench("networks")
    chosen, contiguous, bare = (row["training samples/s"] for row in benchmark.rows)
    assert benchmark.result["channels_last_ratio"] == pytest.approx(chosen / contiguous)
    assert benchmark.result["stem_ratio"] == pytest.approx(chosen / bare)
