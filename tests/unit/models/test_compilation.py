"""Compilation where it cannot succeed. What is compiled for real runs in a process of its own.

Functions with the shape checks of the tests cannot be compiled.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models import compilation
from models.compilation import Compiler

CPU = torch.device("cpu")

DOUBLE = """
import logging, os, sys
from pathlib import Path
import torch
from models.compilation import Compiler
logging.basicConfig(level=logging.WARNING, format="LOG %(message)s")
compiler = Compiler(Path(sys.argv[1]))
class Double(torch.nn.Module):  # as the warm start, which is compiled as a module
    def forward(self, x):
        return torch.sin(x) * 2 + x
double = Double()
run = compiler.compile(double)
for size in (3, 3, 5):
    x = torch.arange(float(size))
    torch.testing.assert_close(run(x), double(x))
print("failure", compiler.failure)
"""


def compile_apart(records: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Compile functions in a process of its own."""
    command = [sys.executable, "-c", DOUBLE, str(records)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.mark.campaign
def test_a_machine_without_a_c_compiler_evaluates_without_after_one_warning(tmp_path: Path) -> None:
    """Other machines that cannot compile are in `tests/campaign/test_compilation.py`."""
    process = compile_apart(tmp_path / "records", CXX="/no/such/compiler", TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert "failure None" not in process.stdout
    assert process.stderr.count("LOG Networks cannot be compiled and are evaluated without") == 1
    assert list((tmp_path / "records").glob("*")) == []


Function = Callable[..., Any]


@pytest.fixture
def compile_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Function], None]:
    """Replace the compilation of functions: each compiled function becomes the given one."""
    return lambda compiled: monkeypatch.setattr(compilation, "_compile", lambda *_: compiled)


def _add(x: torch.Tensor) -> torch.Tensor:
    return x + 1


@pytest.mark.parametrize("error", [RuntimeError("no Triton"), OSError(30, "Read-only file system"), ImportError("gcc")])
def test_any_error_of_a_compilation_is_a_failure_for_all_functions(
    error: Exception, compile_as: Callable[[Function], None], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def fail(_x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        raise error

    compile_as(fail)
    compiler = Compiler()
    first, second = compiler.compile(_add), compiler.compile(_add)
    for function in (first, first, second):
        assert float(function(torch.zeros(1))) == 1
    assert len(calls) == 1
    assert compiler.failure == type(error).__name__
    assert len(caplog.records) == 1


def test_a_compiled_module_is_called_again_and_again(compile_as: Callable[[Function], None]) -> None:
    compile_as(torch.compile(torch.nn.Linear(3, 2), backend="eager"))  # a module, whose truth value is an error
    compiler = Compiler()
    run = compiler.compile(_add)
    for _ in range(3):
        assert run(torch.zeros(1, 3)).shape == (1, 2)
    assert compiler.failure is None


def test_an_error_of_the_function_itself_is_raised_and_is_no_failure(compile_as: Callable[[Function], None]) -> None:
    def fail(_x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the device")

    compile_as(fail)
    compiler = Compiler()
    with pytest.raises(RuntimeError, match="the device"):
        compiler.compile(fail)(torch.zeros(1))
    assert compiler.failure is None


def test_too_little_memory_is_raised_and_is_no_failure(compile_as: Callable[[Function], None]) -> None:
    def fill(_x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    compile_as(fill)
    compiler = Compiler()
    with pytest.raises(torch.OutOfMemoryError):
        compiler.compile(_add)(torch.zeros(1))
    assert compiler.failure is None


DIE = """
import os, signal, sys
from pathlib import Path
import torch
from models import compilation
from models.compilation import Compiler
compilation._compile = lambda *_: lambda x: os.kill(os.getpid(), signal.SIGKILL)
Compiler(Path(sys.argv[1])).compile(abs)(torch.zeros(1))
"""


def test_a_process_that_ends_while_it_compiles_keeps_later_ones_from_it_for_a_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = subprocess.run([sys.executable, "-c", DIE, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    for _ in range(2):
        assert Compiler(tmp_path).failure == "ProcessEnded"
    assert len(caplog.records) == 2
    (record,) = tmp_path.iterdir()
    os.utime(record, (0, time.time() - 86401))
    assert Compiler(tmp_path).failure is None
    assert list(tmp_path.iterdir()) == []


def test_a_compilation_that_runs_or_has_ended_keeps_no_process_from_it(
    tmp_path: Path, compile_as: Callable[[Function], None]
) -> None:
    seen: list[str | None] = []

    def compiled(x: torch.Tensor) -> torch.Tensor:
        seen.append(Compiler(tmp_path).failure)
        return x + 1

    compile_as(compiled)
    run = Compiler(tmp_path).compile(_add)
    for size in (1, 1, 2):
        run(torch.zeros(size))
    assert seen == [None] * 3
    assert list(tmp_path.iterdir()) == []
