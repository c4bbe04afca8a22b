import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from weather.grids import Grid
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout

# In a process of its own: pyproj, which the checker loads, and eccodes bring two copies of PROJ that crash together.
CHECK = """
import sys
from compliance_checker.runner import CheckSuite, ComplianceChecker
CheckSuite.load_all_available_checkers()
path, report = sys.argv[1:]
ComplianceChecker.run_checker(path, ["cf:1.11"], 0, "strict", output_filename=report, output_format="json")
"""


@pytest.fixture
def exported(tmp_path: Path) -> xr.Dataset:
    """A store of all variables as xarray reads it, with the first of two lead times written."""
    layout = Layout(
        init_time=np.datetime64("2018-09-15T00", "s"),
        num_lead_times=2,
        time_step=np.timedelta64(6, "h"),
        members=(0, 1, 2),
        group_size=2,
        variables=("u10", "v10", "t2m", "msl"),
        grid=Grid((67.5, 22.5, -22.5, -67.5), (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)),
    )
    attributes = {
        "Conventions": "CF-1.11",
        "title": "Warmcast ensemble forecast",
        "institution": "Warmcast",
        "source": "Warmcast 0",
        "history": "2018-09-15T00:00:00Z created",
        "references": "arXiv:2507.09212",
        "comment": "Numbers.",
    }
    store = EnsembleStore.create(tmp_path / "ensemble.zarr", layout, attributes)
    for group in range(2):
        store.commit(group, 0, np.full((len(layout.group_members(group)), 4, 4, 6), 5.0, np.float32))
    return xr.open_zarr(store.path).load()


def _errors(dataset: xr.Dataset, folder: Path) -> list[str]:
    """Return what the checker calls errors, for the dataset's NetCDF export; recommendations are left out."""
    path, report = folder / "ensemble.nc", folder / "report.json"
    dataset.to_netcdf(path, encoding={name: {"_FillValue": None} for name in dataset.coords})
    subprocess.run([sys.executable, "-c", CHECK, path, report], check=True, capture_output=True)
    found = json.loads(report.read_text())["cf:1.11"]
    assert found["scoreheader"]["3"] == "Errors"
    assert found["possible_points"] > 100
    return [message for part in found["high_priorities"] for message in part["msgs"]]


def test_an_exported_store_has_no_cf_error(exported: xr.Dataset, tmp_path: Path) -> None:
    assert _errors(exported, tmp_path) == []


def test_the_checker_notices_what_cf_forbids(exported: xr.Dataset, tmp_path: Path) -> None:
    exported.u10.attrs["standard_name"] = "eastwards"
    exported.t2m.attrs["units"] = "m"
    errors = " ".join(_errors(exported, tmp_path))
    assert "standard_name eastwards is not defined" in errors
    assert 'Units "m" for variable t2m must be convertible to canonical units "K"' in errors
