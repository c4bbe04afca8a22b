"""SIGKILL of `warmcast nature-run` at random moments: its processes end with it, and its files get the same bytes.

Each start loads the model again, so that it runs in `make campaign` only.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers import wait_until
from tests.nature import find_nature_python, start_nature_run

_LEAST = 10
_TWO_STATES = ("--start-states", "2")


def _is_any_alive(session: int) -> bool:
    """Return whether a process of a session is there that has not ended."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, found, *_ = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(found) == session and state not in "ZX":
            return True
    return False


def test_killed_runs_continue_to_the_undisturbed_one_in_any_number_of_processes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    kills = int(request.config.getoption("--kills"))
    if kills < _LEAST:
        pytest.skip(f"needs --kills {_LEAST} or more, as in make campaign")
    python, cache = find_nature_python(), tmp_path / "cache"
    for _ in range(2):  # the second run has the compiled model, as the killed ones
        whole = tmp_path / f"whole-{time.monotonic_ns()}"
        started = time.monotonic()
        with start_nature_run(python, whole, cache, *_TWO_STATES) as process:
            assert process.communicate(timeout=600)
            assert process.returncode == 0
        duration = time.monotonic() - started
    draw = random.Random(1982)
    killed, cut = 0, tmp_path / "cut"
    while True:
        options = ("--processes", str(draw.choice([1, 2])))
        with start_nature_run(python, cut, cache, *_TWO_STATES, *options) as process:
            try:
                _, errors = process.communicate(timeout=draw.uniform(0.3, 1.0) * duration)
                assert process.returncode == 0, errors
                break
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
                killed += 1
        wait_until(lambda pid=process.pid: not _is_any_alive(pid), 10)  # type: ignore[misc]
        assert killed < 4 * kills
    assert killed
    for year in (1982, 1983, 1985, 1986):
        assert (cut / f"nature_{year}.nc").read_bytes() == (whole / f"nature_{year}.nc").read_bytes()
    assert not list(cut.rglob("*.partial"))
