from collections.abc import Callable

import pytest

from benchmarks.estimates import worst_factor
from tests.unit.benchmarks.conftest import Benchmark


@pytest.mark.parametrize(
    ("ratios", "worst"), [([1.0], 1.0), ([1.2, 0.9, 1.1], 1.2), ([1.2, 0.5], 2.0), ([0.25, 3.9], 4.0), ([1, 1, 1], 1.0)]
)
def test_the_worst_factor_is_above_or_below_one(ratios: list[float], worst: float) -> None:
    assert worst_factor([{"s ratio": ratio, "other": 99} for ratio in ratios], "s ratio") == pytest.approx(worst)


def test_each_row_compares_a_plan_with_its_forecast(bench: Callable[[str], Benchmark]) -> None:
    rows = bench("estimate").rows
    assert [(row["members"], row["lead times"], row["nfe"]) for row in rows] == [(8, 4, 2), (16, 6, 4), (24, 12, 2)]
    for row in rows:
        assert row["s ratio"] == pytest.approx(row["planned s"] / row["took s"])
        assert row["MB ratio"] == pytest.approx(row["planned MB"] / row["took MB"])
        assert row["memory MB"] > 0


def test_ratios_are_the_worst_of_the_rows(bench: Callable[[str], Benchmark]) -> None:
    benchmark = bench("estimate")
    assert benchmark.result["time_ratio"] == pytest.approx(worst_factor(benchmark.rows, "s ratio"))
    assert benchmark.result["bytes_ratio"] == pytest.approx(worst_factor(benchmark.rows, "MB ratio"))


def test_bytes_on_disk_are_planned_well_after_one_forecast(bench: Callable[[str], Benchmark]) -> None:
    """Compression depends on the fields alone, so unlike seconds this holds on any machine."""
    assert bench("estimate").result["bytes_ratio"] < 1.2


def test_more_members_and_lead_times_take_more_bytes(bench: Callable[[str], Benchmark]) -> None:
    rows = bench("estimate").rows
    for column in ("planned MB", "took MB"):
        assert rows[0][column] < rows[1][column] < rows[2][column]
