"""SIGKILL at random moments: the store can always be opened, every chunk is complete, no committed one is recomputed.

One kill in an ordinary run; `make campaign` sets many.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

_MANY_KILLS = 10
"""Below so many kills the forecast is shorter."""


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kills"))


def _command(checkpoint: Path, states: list[Path], output: Path, num_lead_times: int, *, resume: bool) -> list[str]:
    options = ["--members", "6", "--batch-size", "4", "--lead-time", f"{6 * num_lead_times}h", "--seed", "3"]
    options += ["--checkpoint", str(checkpoint), "--output", str(output), "--threads", "1"]
    options += ["--resume"] if resume else []
    run = [sys.executable, "-c", "from warmcast.cli import main; main()", "forecast"]
    return [*run, "--initial-state", *map(str, states), *options]


def _chunks(store: Path) -> dict[str, tuple[int, int]]:
    """Return the inode and modification time of every chunk file, by its path in the store."""
    files = [path for path in store.rglob("*") if path.is_file() and not path.name.endswith(".partial")]
    return {str(path.relative_to(store)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def _committed_chunks(store: Path) -> dict[str, tuple[int, int]]:
    """Return the field chunks that `complete` marks; each is read, which verifies its checksum."""
    root = zarr.open_group(store, mode="r")
    complete = np.asarray(root["complete"][:])
    chunks, places = _chunks(store), {}
    for lead_index, columns in enumerate(complete):
        for group in range(2):
            if columns[4 * group]:
                for name in ("u10", "v10"):
                    values = np.asarray(root[name][0, lead_index, 4 * group : 4 * group + 4])
                    assert np.isfinite(values).all(), (name, lead_index, group)
                    place = f"{name}/c.0.{lead_index}.{group}.0.0"
                    places[place] = chunks[place]
    return places


def test_killed_forecasts_resume_to_the_undisturbed_one(
    kills: int, untrained_checkpoint: Path, gfs_files: list[Path], tmp_path: Path
) -> None:
    command = partial(_command, untrained_checkpoint, gfs_files, num_lead_times=80 if kills >= _MANY_KILLS else 40)
    started = time.monotonic()
    subprocess.run(command(tmp_path / "whole", resume=False), check=True, capture_output=True)
    duration = time.monotonic() - started
    draw = random.Random(20180915)
    killed, round_number, store = 0, 0, tmp_path / "cut/ensemble.zarr"
    while True:
        before = _committed_chunks(store) if store.exists() else {}
        run = command(tmp_path / "cut", resume=round_number > 0)
        process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        round_number += 1
        try:
            _, errors = process.communicate(timeout=draw.uniform(0.3, 1.0) * duration if killed < kills else 600)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert killed < kills, "the resumed forecast has not ended within 600 s"
            killed += 1
        else:
            assert process.returncode == 0, errors
        if store.exists():
            after = _committed_chunks(store)
            assert {place: after.get(place) for place in before} == before
        if process.returncode == 0:
            if killed >= kills:
                break
            shutil.rmtree(tmp_path / "cut")
            round_number = 0
    whole = tmp_path / "whole/ensemble.zarr"
    assert set(_chunks(store)) == set(_chunks(whole))
    assert not list(store.rglob("*.partial"))
    for place in _chunks(whole):
        if "/c." in place:
            assert (store / place).read_bytes() == (whole / place).read_bytes(), place
    xr.testing.assert_equal(xr.open_zarr(store).load(), xr.open_zarr(whole).load())
