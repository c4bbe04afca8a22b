import io
from typing import Any

import pytest
from rich.console import Console

from warmcast.training_progress import format_duration, format_progress, training_progress

FIELDS: dict[str, Any] = {
    "stage": "both",
    "step": 20,
    "steps": 1000,
    "losses": {"nll": -0.5, "flow_loss": 1.53921},
    "grad_norm": 0.8765,
    "learning_rate": 1e-3,
    "samples_per_second": 123.456,
    "seconds_left": 3661.2,
    "validation": None,
}
SCORES = {"nll": -0.25, "mae_u10": 1.0, "crps_72h": 0.5, "crps_72h_u10": 2.0, "spread_skill_72h": 0.9}
LINE = "both  20/1000  1:01:02 left  123.5 samples/s  nll -0.5000  flow_loss 1.5392  |g| 0.88  lr 1.0e-03"


def test_a_line_says_stage_step_losses_throughput_and_time_left() -> None:
    assert format_progress(FIELDS) == LINE


def test_a_line_ends_with_the_scores_of_all_variables_together_where_there_are_some() -> None:
    line = format_progress(FIELDS | {"validation": SCORES | {"residual_eta_u10": [1.0]}})
    assert line == f"{LINE}  validation  nll -0.2500  crps_72h 0.5000  spread_skill_72h 0.9000"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0:00:00"),
        (-0.5, "0:00:00"),
        (59.1, "0:01:00"),
        (3600.0, "1:00:00"),
        (360_000.0, "100:00:00"),
        (float("inf"), "?"),
        (float("nan"), "?"),
    ],
)
def test_the_time_left_is_rounded_up_to_seconds_and_never_negative(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_without_a_terminal_each_report_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with training_progress(Console(file=io.StringIO(), force_terminal=False)) as report:
        report(FIELDS)
        report(FIELDS | {"step": 40})
    assert capsys.readouterr().err.splitlines() == [LINE, LINE.replace("20/1000", "40/1000")]


def test_on_a_terminal_each_stage_has_a_live_line_and_each_validation_a_lasting_one() -> None:
    file = io.StringIO()
    with training_progress(Console(file=file, force_terminal=True, width=160, color_system=None)) as report:
        report(FIELDS | {"stage": "warm_start", "step": 1000, "seconds_left": 0.0})
        report(FIELDS)
        report(FIELDS | {"validation": SCORES})
        report(FIELDS | {"step": 60, "seconds_left": 600.0})
    written = file.getvalue()
    assert written.count("validation  nll -0.2500  crps_72h 0.5000") == 1
    last = written[written.rindex("warm_start") :]
    assert "1000/1000" in last
    assert "60/1000" in last
    assert "123.5 samples/s" in last
    assert "0:10:00 left" in last
    assert "lr 1.0e-03" in last
    assert "mae_u10" not in written


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_live_line_takes_one_line_of_a_narrow_terminal(width: int) -> None:
    file = io.StringIO()
    with training_progress(Console(file=file, force_terminal=True, width=width, color_system=None)) as report:
        report(FIELDS | {"stage": "warm_start", "step": 100_000, "steps": 3_000_000, "seconds_left": 900_000.0})
    last = next(line for line in reversed(file.getvalue().splitlines()) if "left" in line)
    for part in ("warm_start", "100000/3000000", "250:00:00 left"):
        assert part in last
    assert ("123.5 samples/s" in last) == (width >= 80)
    assert ("flow_loss 1.5392" in last) == (width >= 120)
