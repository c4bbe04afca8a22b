"""Trainings in processes of their own: several at once, killed, and ended by a signal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from models.checkpoint import load_checkpoint
from models.networks import Networks
from tests.unit.training.tiny import tiny_config
from training.logs import LOG_NAME, Progress, RunLog
from warmcast.cli import app
from weather.grids import Grid
from weather.testing import travelling_waves

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The turn of the year 2000/2001, 20 frames on each side, without static fields."""
    grid = Grid.from_coordinates(np.linspace(84.375, -84.375, 16), np.arange(32) * 11.25)
    turn = np.datetime64("2001-01-01T00", "s")
    path = tmp_path_factory.mktemp("waves") / "waves.nc"
    travelling_waves(grid, [turn + np.timedelta64(6 * step, "h") for step in range(-20, 20)]).to_netcdf(path)
    return path


@pytest.fixture
def write_config(tmp_path: Path) -> Write:
    def write(**changes: Any) -> Path:
        path = tmp_path / "config.yaml"
        validation = {"samples": 4, "starts": 1, "members": 2, "lead_times": ["6h"], "growth_days": 0}
        path.write_text(yaml.safe_dump(tiny_config(static_fields=[], validation=validation, **changes)))
        return path

    return write


def _arguments(config: Path, data: Path, output: Path, *more: str) -> list[str]:
    return ["train", str(config), "--data", str(data), "--output", str(output), *more]


def _train(config: Path, data: Path, output: Path, *more: str) -> Result:
    return CliRunner().invoke(app, _arguments(config, data, output, *more), catch_exceptions=False)


def _weights(output: Path) -> dict[str, torch.Tensor]:
    networks: Networks = load_checkpoint(output / "final", torch.device("cpu"))[0]
    parts = {"h": networks.warm_start, "p": networks.flow}
    return {f"{part}.{name}": weight for part, net in parts.items() for name, weight in net.state_dict().items()}


def _log(output: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (output / LOG_NAME).read_text().splitlines()]
    return [{name: line[name] for name in ("stage", "step", "losses", "grad_norm", "validation")} for line in lines]


def test_two_processes_equal_one_with_the_doubled_batch(write_config: Write, data: Path, tmp_path: Path) -> None:
    both = {"steps": 6, "batch_size": 8, "accumulation": 2, "end_to_end": True}
    flow = {**tiny_config()["flow"], "warm_start_outputs": "disk"}
    config = write_config(stages=["both", "flow"], both=both, flow=flow)
    one = _train(config, data, tmp_path / "one")
    two = _train(config, data, tmp_path / "two", "--processes", "2")
    assert (one.exit_code, two.exit_code) == (0, 0), one.output + two.output
    expected, got = _weights(tmp_path / "one"), _weights(tmp_path / "two")
    for name, weight in expected.items():
        torch.testing.assert_close(got[name], weight, rtol=1e-3, atol=2e-5, msg=name)
    lines, expected_lines = _log(tmp_path / "two"), _log(tmp_path / "one")
    assert [(line["stage"], line["step"]) for line in lines] == [
        (line["stage"], line["step"]) for line in expected_lines
    ]
    for line, expected_line in zip(lines, expected_lines, strict=True):
        assert line["losses"] == pytest.approx(expected_line["losses"], rel=1e-3)
        assert line["grad_norm"] == pytest.approx(expected_line["grad_norm"], rel=1e-3)


def test_an_error_of_the_first_process_ends_all_and_is_printed_once(
    write_config: Write, data: Path, tmp_path: Path
) -> None:
    config = write_config()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.Validator", _raise_os_error)
        result = _train(config, data, tmp_path / "run", "--processes", "2")
    assert result.exit_code == 3
    assert "No space left on device" in result.stderr


def _raise_os_error(*_: object) -> None:
    raise OSError(28, "No space left on device", "state")


def _start(config: Path, data: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "warmcast", *_arguments(config, data, output, *more)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def _wait_for(output: Path, stage: str, step: int, process: subprocess.Popen[str]) -> None:
    """Wait until a step of a stage is logged."""
    for _ in range(6000):
        if (output / LOG_NAME).exists() and any(
            (line["stage"], line["step"]) == (stage, step)
            for line in map(json.loads, (output / LOG_NAME).read_text().splitlines(keepends=True)[:-1] or [])
        ):
            return
        if process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.stderr and process.stderr.read()}")
        time.sleep(0.01)
    pytest.fail(f"step {step} of {stage} was not reached")


@pytest.mark.campaign
def test_a_training_that_is_killed_and_then_gets_the_signal_to_end_resumes_to_the_same_bits_and_log(
    write_config: Write, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimiser = {"steps": 40, "batch_size": 4, "warmup_steps": 2}
    parts = {name: tiny_config()[name] | {"optimiser": optimiser} for name in ("warm_start", "flow")}
    parts["flow"]["warm_start_outputs"] = "disk"
    config, run = write_config(**parts, save_every=7, report_every=1), tmp_path / "run"
    killed = _start(config, data, run)
    _wait_for(run, "warm_start", 9, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=100)
    with monkeypatch.context() as patch:
        patch.setattr("training.logs.RunLog.report", _terminate_after(RunLog.report, "flow", 11))
        ended = _train(config, data, run, "--resume")
    assert ended.exit_code == 143, ended.output
    assert "after step 12 of the stage `flow` is saved. To continue, repeat the command with --resume." in ended.stderr
    assert not (run / "checkpoint").exists()
    assert _train(config, data, run, "--resume").exit_code == 0
    assert _train(config, data, tmp_path / "whole").exit_code == 0
    for folder in ("checkpoint", "final"):
        resumed, whole = (load_checkpoint(path / folder, torch.device("cpu"))[1] for path in (run, tmp_path / "whole"))
        assert resumed.files == whole.files
        assert resumed.provenance.selections == whole.provenance.selections
    assert _log(run) == _log(tmp_path / "whole")
    assert not list(run.glob("warm_start.outputs*"))


def _terminate_after(report: Callable[[RunLog, Progress], None], stage: str, step: int) -> object:
    """Return a `report` that sends SIGTERM to this process after a step."""

    def report_and_terminate(log: RunLog, progress: Progress) -> None:
        report(log, progress)
        if (progress.stage, progress.step) == (stage, step):
            os.kill(os.getpid(), signal.SIGTERM)

    return report_and_terminate
