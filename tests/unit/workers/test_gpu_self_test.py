"""The checks of a GPU, on a CPU, with stand-ins for what only a GPU has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models import compilation
from models.compilation import Compiler
from models.forecaster import Forecaster
from tests.helpers import random_state
from tests.unit.models.test_graphs import StandIn
from weather.manifest import read_manifest
from workers.gpu_self_test import check_against_cpu, check_compiled, check_recorded, check_tf32, measure_transfers
from workers.self_test import Subject


@pytest.fixture
def subject(tiny_checkpoint: Path) -> Subject:
    return Subject.of(tiny_checkpoint, read_manifest(tiny_checkpoint), torch.device("cpu"), random_state())


def test_a_device_that_computes_as_a_cpu_passes(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_compile", lambda function: function)
    graphs = StandIn()
    findings = [
        check_against_cpu(subject),
        check_tf32(subject),
        check_recorded(subject, graphs),
        check_compiled(subject, Compiler()),
        measure_transfers(torch.device("cpu")),
    ]
    assert all(finding.is_well for finding in findings), findings
    assert graphs.replayed == 2
    assert "GB/s to the device" in findings[-1].found


def test_a_device_whose_precision_decides_the_values_fails(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Forecaster._advance  # what every step calls

    def spoil(forecaster: Forecaster, *inputs: Any) -> Any:
        return advance(forecaster, *inputs) * (1.0 if forecaster.execution.precision == "float32" else 1.2)

    monkeypatch.setattr(Forecaster, "_advance", spoil)
    assert not check_tf32(subject).is_well


def test_recorded_steps_with_other_values_fail(subject: Subject) -> None:
    class Stale(StandIn):
        """Graphs whose replay repeats nothing: the memory keeps what it held at the recording."""

        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            function()
            return lambda: None

    assert not check_recorded(subject, Stale()).is_well


def test_a_machine_that_cannot_compile_fails_and_names_the_error(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_function: Callable[..., Any]) -> Callable[..., Any]:
        raise OSError("no C compiler")

    monkeypatch.setattr(compilation, "_compile", fail)
    finding = check_compiled(subject, Compiler())
    assert not finding.is_well
    assert finding.found.endswith("cannot be compiled: OSError")
