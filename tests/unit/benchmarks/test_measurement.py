import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurement import (
    GrowingResults,
    peak_resident_bytes,
    publish_results,
    shortest_seconds,
    shortest_seconds_of_each,
)


class Clock:
    """A clock that a test moves: `time.perf_counter` of the module under test."""

    now = 20.0

    def perf_counter(self) -> float:
        return self.now

    def work(self, *seconds: float) -> Callable[[], None]:
        """Return work whose runs take the given seconds, in order."""
        remaining = list(seconds)

        def work() -> None:
            self.now += remaining.pop(0)

        return work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("benchmarks.measurement.time", clock)
    return clock


def test_the_shortest_run_counts_and_the_first_one_does_not(clock: Clock) -> None:
    assert shortest_seconds(clock.work(0.5, 4, 2, 3), repeats=3) == pytest.approx(2)


def test_work_runs_once_more_than_it_is_measured(clock: Clock) -> None:
    runs: list[int] = []
    shortest_seconds(lambda: runs.append(1), repeats=4)
    assert len(runs) == 5


def test_each_work_has_its_own_shortest_time(clock: Clock) -> None:
    works = {"slow": clock.work(9, 8, 9, 7), "fast": clock.work(0.1, 3, 0.1, 2)}
    assert shortest_seconds_of_each(works, repeats=2) == {"slow": pytest.approx(7), "fast": pytest.approx(2)}


def test_works_run_in_turns_each_first_once_without_being_measured() -> None:
    runs: list[str] = []
    works = {"a": lambda: runs.append("a"), "b": lambda: runs.append("b")}
    shortest_seconds_of_each(works, repeats=3)
    assert "".join(runs) == "aabb" * 3


def test_an_error_of_the_work_is_not_hidden(clock: Clock) -> None:
    with pytest.raises(IndexError):
        shortest_seconds(clock.work(1, 1), repeats=2)


def test_the_peak_of_memory_includes_what_is_freed_before_the_end() -> None:
    size = 200_000_000

    def work() -> None:
        block = np.ones(size, np.uint8)
        assert block[::4096].all()

    nothing = peak_resident_bytes(lambda: None)
    assert size * 0.9 < peak_resident_bytes(work) - nothing < size * 1.5
    assert peak_resident_bytes(lambda: None) < nothing + size / 2


def test_an_error_while_memory_is_measured_ends_the_measurement() -> None:
    def work() -> None:
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        peak_resident_bytes(work)


ROWS = [
    {"design": "first", "members": 8, "s": 1.23456, "compiled": True},
    {"design": "second", "members": 16, "s": 1e-5, "compiled": False},
]


def test_results_are_returned_and_written_in_full_precision(tmp_path: Path) -> None:
    result = publish_results("Title", ROWS, {"ratio": 1 / 3}, tmp_path / "out.json")
    assert result == {"rows": ROWS, "ratio": 1 / 3}
    assert json.loads((tmp_path / "out.json").read_text()) == result


def test_results_are_printed_with_three_digits_under_their_title(capsys: pytest.CaptureFixture[str]) -> None:
    publish_results("Speed of nothing", ROWS, {"some_ratio": 12.3456, "other": 1e6}, None)
    output = capsys.readouterr().out
    for text in ("Speed of nothing", "design", "compiled", "1.23", "1e-05", "16", "False"):
        assert text in output
    assert "1.2345" not in output
    assert output.splitlines()[-2:] == ["some_ratio: 12.3", "other: 1e+06"]


def test_nothing_is_written_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish_results("Title", ROWS, {}, None)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("x" * 10_000)
    publish_results("Title", ROWS[:1], {}, path)
    assert len(json.loads(path.read_text())["rows"]) == 1


def test_results_are_printed_and_written_as_they_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    results = GrowingResults(path)
    results.add_row({"grid": "48 × 96", "seconds": 1.23456})
    assert capsys.readouterr().err == "grid 48 × 96, seconds 1.23\n"
    assert json.loads(path.read_text()) == {"rows": [{"grid": "48 × 96", "seconds": 1.23456}]}
    results.add_ratios({"overhead": 1.5})
    assert capsys.readouterr().err == "overhead: 1.5\n"
    whole = results.publish("Engine")
    assert json.loads(path.read_text()) == whole == {"rows": [{"grid": "48 × 96", "seconds": 1.23456}], "overhead": 1.5}
    assert "Engine" in capsys.readouterr().out
