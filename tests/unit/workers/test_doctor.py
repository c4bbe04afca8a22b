import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from jobs.installation import open_installation
from jobs.settings import StorageSettings
from models.forecaster import Forecaster
from models.shapes import Frames
from tests.helpers import random_state
from warmcast.cli import app
from weather.ingest.sandbox import find_missing_protections
from weather.manifest import read_manifest
from workers.doctor import check_parser
from workers.self_test import Subject, run_self_test


@pytest.fixture
def subject(tiny_checkpoint: Path) -> Subject:
    return Subject.of(tiny_checkpoint, read_manifest(tiny_checkpoint), torch.device("cpu"), random_state())


def test_a_correct_device_passes_every_check(subject: Subject) -> None:
    findings = {finding.name: finding for finding in run_self_test(subject)}
    assert all(finding.is_well for finding in findings.values()), findings
    assert "bit for bit" in findings["same seed again"].found
    assert {"in a spawned process", "member 7 alone", "bfloat16", "evaluations a second"} <= findings.keys()


def test_a_device_with_irreproducible_results_fails(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(10**6))

    class Drifting(Forecaster):
        def step(self, frames: Frames, valid_time: np.datetime64, noise: torch.Tensor) -> torch.Tensor:
            return super().step(frames, valid_time, noise) + 0.001 * next(calls)

    monkeypatch.setattr("workers.self_test.Forecaster", Drifting)
    wrong = {finding.name for finding in run_self_test(subject) if not finding.is_well}
    assert {"same seed again", "in a spawned process", "member 7 alone"} <= wrong


def test_the_command_prints_the_findings_and_fails_if_a_server_is_missing(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMCAST_DATA", str(tmp_path / "data"))
    (tmp_path / "more/broken").mkdir(parents=True)
    (tmp_path / "more/broken/manifest.json").write_text("{")
    command = ["doctor", "--checkpoint", str(tiny_checkpoint), "--device", "cpu"]
    well = CliRunner().invoke(app, command)
    assert well.exit_code == 0, well.output
    assert "[ok] device: cpu" in well.output
    assert "[ok] installation: none yet" in well.output
    open_installation(StorageSettings(data=tmp_path / "data")).database.close()
    (tmp_path / "data/warmcast.db").unlink()
    monkeypatch.setattr("workers.doctor.run_self_test", lambda _subject: ())  # it has passed
    monkeypatch.setenv("WARMCAST_DISPATCHER", "celery")
    monkeypatch.setenv("WARMCAST_REDIS_URL", "redis://127.0.0.1:1/0")
    ill = CliRunner().invoke(app, [*command, "--json", "--checkpoints", str(tmp_path / "more")])
    assert ill.exit_code == 3, ill.output
    findings = {each["name"]: each for each in json.loads(ill.stdout)["findings"]}
    assert findings["redis"]["is_well"] is False
    assert findings["checkpoint broken"]["is_well"] is False
    assert "more/broken/manifest.json` cannot be read as JSON" in findings["checkpoint broken"]["found"]
    assert findings["installation"]["is_well"] is False
    assert not (tmp_path / "data/warmcast.db").exists()


def test_a_parser_without_protections_or_that_fails_is_not_well(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_manifest(tiny_checkpoint).model
    assert check_parser(spec).is_well == (find_missing_protections() == [])
    monkeypatch.setattr("weather.ingest.sandbox.landlock_version", lambda: 0)
    assert "The kernel offers no Landlock" in check_parser(spec).found
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert "The parser ended with code 1" in check_parser(spec).found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_passes_every_check(subject: Subject) -> None:
    assert all(finding.is_well for finding in run_self_test(replace(subject, device=torch.device("cuda"))))
