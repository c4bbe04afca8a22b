import itertools
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from training.logs import LOG_NAME, Progress, RunLog, TimeLeft

PROGRESS = Progress("flow", 20, 100, {"nll": -1.5, "flow_loss": 1.25}, 0.5, 1e-3, 128.0, 60.0)


def _lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / LOG_NAME).read_text().splitlines()]


def _events(folder: Path) -> Iterator[Event]:
    """Yield the events of a folder in the order of its files: each has a length, its checksum, data, their checksum."""
    for file in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content = file.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]


def _visible(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars as TensorBoard shows them: those of earlier files end where a later one starts."""
    scalars: dict[str, list[tuple[int, float]]] = {}
    for event in _events(folder):
        if event.HasField("session_log"):
            for tag in scalars:
                scalars[tag] = [point for point in scalars[tag] if point[0] < event.step]
        for value in event.summary.value:
            scalars.setdefault(value.tag, []).append((event.step, round(value.simple_value, 6)))
    return scalars


def test_a_report_is_a_line_of_json_and_scalars_of_tensorboard(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.report(PROGRESS)
    log.report(replace(PROGRESS, step=40, validation={"crps_72h": 0.25, "residual_eta_u10": [1.0, 0.5]}))
    first, second = _lines(tmp_path)
    log.close()
    assert (first["stage"], first["step"], first["steps"], first["losses"]) == ("flow", 20, 100, PROGRESS.losses)
    assert first["validation"] is None
    assert second["validation"] == {"crps_72h": 0.25, "residual_eta_u10": [1.0, 0.5]}
    assert _visible(tmp_path / "tensorboard/flow") == {
        "loss/nll": [(20, -1.5), (40, -1.5)],
        "loss/flow_loss": [(20, 1.25), (40, 1.25)],
        "optimiser/grad_norm": [(20, 0.5), (40, 0.5)],
        "optimiser/learning_rate": [(20, 0.001), (40, 0.001)],
        "speed/samples_per_second": [(20, 128.0), (40, 128.0)],
        "validation/crps_72h": [(40, 0.25)],
    }


@pytest.mark.parametrize("saved", [0, 40, 60])
def test_a_resumed_training_repeats_nothing_in_either_log(saved: int, tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.truncate("warm_start", 0)
    log.report(replace(PROGRESS, stage="warm_start", step=100))
    log.truncate("flow", 0)
    for step in (20, 40, 60):
        log.report(replace(PROGRESS, step=step, grad_norm=1.0))
    log.close()
    with (tmp_path / LOG_NAME).open("a") as lines:
        lines.write('{"stage": "flow", "st')
    resumed = RunLog(tmp_path)
    resumed.truncate("warm_start", 100)
    resumed.truncate("flow", saved)
    steps = range(saved + 20, 101, 20)
    for step in steps:
        resumed.report(replace(PROGRESS, step=step, grad_norm=2.0))
    resumed.close()
    expected = [(step, 1.0 if step <= saved else 2.0) for step in (20, 40, 60, 80, 100)]
    lines = _lines(tmp_path)
    assert [(line["stage"], line["step"]) for line in lines[:1]] == [("warm_start", 100)]
    assert [(line["step"], line["grad_norm"]) for line in lines[1:]] == expected
    assert _visible(tmp_path / "tensorboard/flow")["optimiser/grad_norm"] == expected


def test_numbers_that_are_not_finite_are_null_so_that_every_reader_of_json_takes_the_line(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    validation: dict[str, Any] = {"crps_72h": float("nan"), "residual_eta_u10": [float("inf"), 1.0]}
    log.report(replace(PROGRESS, seconds_left=float("inf"), validation=validation))
    log.close()
    text = (tmp_path / LOG_NAME).read_text()
    assert not any(word in text for word in ("NaN", "Infinity"))
    (line,) = _lines(tmp_path)
    assert (line["seconds_left"], line["validation"]) == (None, {"crps_72h": None, "residual_eta_u10": [None, 1.0]})


def test_the_time_left_of_steady_steps_is_exact_and_ends_at_zero() -> None:
    now = 100.0
    left = TimeLeft(40, 100, lambda: now)
    for step in range(50, 101, 10):
        now += 20.0
        assert left.update(step) == pytest.approx((100 - step) * 2.0)
    assert left.update(120) == 0.0


def test_the_time_left_forgets_slow_first_steps_and_spreads_pauses() -> None:
    """100 s of compilation, then 1 s a step, and a validation of 50 s each 100 steps: 1.5 s a step."""
    now, estimates = 0.0, []
    left = TimeLeft(0, 1000, lambda: now)
    for step in range(10, 1001, 10):
        now += 10.0 + (100.0 if step == 10 else 0.0) + (50.0 if step % 100 == 0 else 0.0)
        estimates.append(left.update(step) + now)
    end = now
    assert estimates[-1] == end
    late = estimates[40:]
    assert max(abs(estimate - end) for estimate in late) < 0.1 * end
    changes = [abs(after - before) for before, after in itertools.pairwise(late)]
    assert max(changes) < 0.1 * end


def test_the_time_left_is_never_negative_even_if_the_clock_is_set_back() -> None:
    times = iter([100.0, 90.0, 95.0, 96.0])
    left = TimeLeft(0, 30, lambda: next(times))
    assert [left.update(step) >= 0 for step in (10, 20, 30)] == [True, True, True]


def test_before_the_first_step_the_time_left_is_unknown() -> None:
    assert TimeLeft(0, 10, lambda: 0.0).update(0) == float("inf")
