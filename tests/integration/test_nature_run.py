"""`warmcast nature-run` with the real model, in the environment that has it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.nature import find_nature_python, start_nature_run
from training.nature.files import read_days_done


@pytest.mark.campaign
def test_years_are_the_same_after_an_interruption(tmp_path: Path) -> None:
    python = find_nature_python()
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    with start_nature_run(python, whole, tmp_path / "cache") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("3/6 simulated days"):  # what a kill would leave at this moment
                shutil.copytree(whole, interrupted, ignore=shutil.ignore_patterns("*.partial"))
                break
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    year, day = read_days_done(interrupted / ".states/1982.npz") or (0, 0)
    assert (year, day) < (1983, 1), "the copy came too late to show anything"

    with start_nature_run(python, interrupted, tmp_path / "cache") as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output == f"{interrupted}: 2 years\n"
    assert errors.splitlines()[0].startswith(("4/6", "5/6"))
    for name in ("nature_1982.nc", "nature_1983.nc"):
        assert (interrupted / name).read_bytes() == (whole / name).read_bytes()

    with xr.open_dataset(whole / "nature_1983.nc") as dataset:
        assert dataset.u10.shape == (8, 48, 96)
        assert (
            dataset.time.to_numpy()[[0, -1]].tolist()
            == np.array(["1983-01-01T06", "1983-01-03T00"], "datetime64[ns]").tolist()
        )
        assert float(dataset.latitude[0]) == pytest.approx(-87.159, abs=1e-3)
        assert 0.5 < float(dataset.u10.std()) < 20
        changes = np.abs(np.diff(dataset.u10, axis=0)).max(axis=(1, 2))
        assert np.all(changes > 0.1)
        assert float(dataset.orog.max()) == pytest.approx(5016.9, abs=0.1)
        assert float(dataset.lsm.mean()) == pytest.approx(0.33, abs=0.03)
