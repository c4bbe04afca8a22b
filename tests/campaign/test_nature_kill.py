"""SIGKILL of `warmcast nature-run` at random moments: its processes end with it, and its files get the same bytes.

Each start loads the model again, so that it runs in `make campaign` only.
"""

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.helpers import wait_until
from tests.nature import find_nature_python, start_nature_run

_LEAST = 10
_TWO_STATES = ("--start-states", "2")


def _is_over(session: int) -> bool:
    """Return whether all processes of a session have ended."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, found, *_ = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(found) == session and state not in "ZX":
            return False
    return True


def test_killed_runs_continue_to_the_undisturbed_one_in_any_number_of_processes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    kills = int(request.config.getoption("--kills"))
    if kills < _LEAST:
        pytest.skip(f"needs --kills {_LEAST} or more, as in make campaign")
    python, cache, whole, cut = find_nature_python(), tmp_path / "cache", tmp_path / "whole", tmp_path / "cut"
    with start_nature_run(python, whole, cache, *_TWO_STATES) as process:
        _, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    draw = random.Random(1982)
    killed = 0
    while process.returncode != 0 or not cut.exists():
        with start_nature_run(python, cut, cache, *_TWO_STATES, "--processes", str(draw.randint(1, 2))) as process:
            assert process.stderr is not None
            lines = [process.stderr.readline() for _ in range(draw.randint(1, 3))]
            time.sleep(draw.uniform(0, 1))
            process.kill()
            process.communicate()
        assert process.returncode in {0, -signal.SIGKILL}, lines
        killed += process.returncode != 0
        wait_until(partial(_is_over, process.pid), 10)
    assert killed > 1
    for year in (1982, 1983, 1985, 1986):
        assert (cut / f"nature_{year}.nc").read_bytes() == (whole / f"nature_{year}.nc").read_bytes()
    assert not list(cut.rglob("*.partial"))
