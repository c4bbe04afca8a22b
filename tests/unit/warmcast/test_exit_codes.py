"""The exit codes that docs/cli.md lists, and no traceback for any of them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from training.errors import NotFiniteError, StoppedError
from warmcast.console import exit_codes
from warmcast.errors import (
    ForecastFailedError,
    ServiceProblemError,
    ServiceUnreachableError,
    WaitTimeoutError,
)

DOCS = Path(__file__).parents[3] / "docs/cli.md"
ERRORS: dict[int, BaseException] = {
    1: NotFiniteError(),
    2: ServiceProblemError("/problems/validation", 422, "Wrong."),
    3: OSError(28, "No space left on device", "a.nc"),
    4: ServiceProblemError("/problems/limit-reached", 429, "Too many.", retryable=True),
    5: ForecastFailedError("Forecast fc_1 has failed: a reason", "failed", None),
    130: KeyboardInterrupt(),
    143: StoppedError(),
}


def _run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"WARMCAST_URL": "http://127.0.0.1:9", "COLUMNS": "80"} | options.pop("env", {})
    command = [sys.executable, "-m", "warmcast", *arguments]
    stdout = options.pop("stdout", subprocess.PIPE)
    return subprocess.run(
        command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, **options
    )


def test_every_documented_exit_code_occurs_and_no_other() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCS.read_text(), flags=re.M)}
    assert documented == {0, *ERRORS}


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_ends_a_command_with_its_code_and_one_paragraph(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, exit_codes():
        raise ERRORS[code]
    assert caught.value.exit_code == code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_service_that_does_not_answer_in_time_is_worth_another_try() -> None:
    assert {error("").exit_code for error in (ServiceUnreachableError, WaitTimeoutError)} == {4}


def test_a_missing_key_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), exit_codes():
        raise ServiceProblemError("/problems/unauthorized", 401, "An API key is required.")
    assert "WARMCAST_KEY" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--version"], 0, ""),
        (["list", "--url", "ftp://x"], 2, "must begin with http:// or https://"),
        (["list", "--limit", "0"], 2, "--limit"),
    ],
)
def test_commands_end_with_the_code(arguments: list[str], code: int, message: str) -> None:
    ended = _run(*arguments)
    assert (ended.returncode, message in ended.stderr, "Traceback" in ended.stderr) == (code, True, False)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_a_full_disk_behind_the_output_is_one_error(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = _run(*arguments, stdout=full)
    assert (ended.returncode, ended.stderr) == (3, "Error: The output cannot be written: No space left on device.\n")


def test_the_end_of_a_pipe_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        assert "Traceback" not in _run("--help", stdout=pipe).stderr


@pytest.mark.parametrize(
    ("words", "expected"), [("warmcast pos", "position"), ("warmcast position --exc", "--exceedance")]
)
def test_the_shell_completes_commands_and_options(words: str, expected: str) -> None:
    number = str(len(words.split()) - 1)
    completion = {"_WARMCAST_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": number}
    assert _complete(completion) == expected


def _complete(environment: dict[str, str]) -> str:
    """Return the completions, as the shell gets them from the installed program."""
    program = str(Path(sys.executable).with_name("warmcast"))
    ended = subprocess.run([program], env=os.environ | environment, capture_output=True, text=True, check=False)
    return ended.stdout.strip()


def test_the_script_of_the_completion_is_printed() -> None:
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    program = str(Path(sys.executable).with_name("warmcast"))
    ended = subprocess.run(
        [program, "--show-completion", "bash"], env=environment, capture_output=True, text=True, check=False
    )
    assert "_WARMCAST_COMPLETE=complete_bash" in ended.stdout
