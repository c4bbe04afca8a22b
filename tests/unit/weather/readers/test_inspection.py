from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.inputs import grib_messages, state, state_spec, write_grib, write_netcdf
from weather.initial_state import read_initial_state
from weather.readers import inspection
from weather.readers.inspection import Inspection, inspect_sources, rename_files

SPEC = state_spec()


def _inspect(*paths: Path, **options: object) -> Inspection:
    return inspect_sources([str(path) for path in paths], SPEC, **options)


def _reasons(found: Inspection) -> set[str]:
    return {entry.reason for entry in found.unused}


@pytest.fixture
def grib(tmp_path: Path) -> Callable[..., Path]:
    """Write frames as a GRIB file."""

    def write(name: str, frames: xr.Dataset, **options: object) -> Path:
        return write_grib(tmp_path / name, grib_messages(frames, **options))

    return write


def test_what_is_there_and_what_is_chosen_is_listed(grib: Callable[..., Path]) -> None:
    path = grib("a.grib2", state())
    found = _inspect(path)
    assert (found.can_start, found.init_time, found.problems) == (True, "2018-09-15T00:00:00", ())
    (row,) = found.found
    assert (row.file, row.variables, row.level, row.unit) == (str(path), ("u10", "v10"), "height 10 m", "m s**-1")
    assert row.valid_times is not None
    assert (row.valid_times.first, row.valid_times.last, row.valid_times.count) == (
        "2018-09-14T18:00:00",
        "2018-09-15T00:00:00",
        2,
    )
    assert (row.grid, row.statistic, row.records) == ("19 × 36 (with poles)", "instantaneous state", 2)
    assert [source.valid_time for source in found.chosen] == ["2018-09-14T18:00:00", "2018-09-15T00:00:00"]
    assert found.chosen == read_initial_state([str(path)], SPEC).choice
    assert found.unused == ()


def test_records_that_are_not_used_have_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.grib2"
    frames = state(frames=3)
    forecasts = grib_messages(frames.isel(time=slice(1, 3)), step_hours=12)
    write_grib(path, [*forecasts, *grib_messages(frames), *grib_messages(frames.isel(time=[2]))])
    found = _inspect(path)
    assert found.can_start
    assert _reasons(found) == {
        "of another time",
        "a longer step: 12 h, and 0 h is there",
        f"equal to that of `{path}`",
    }
    assert sum(entry.records for entry in found.unused) + 4 == sum(2 * row.records for row in found.found)


def test_another_level_and_preliminary_and_empty_records_have_their_reason(tmp_path: Path) -> None:
    frames = state()
    other = write_netcdf(frames.assign_coords(height=_metres(100.0)), tmp_path / "h.nc")
    versions = xr.concat([frames, frames + 1, frames * np.nan], "expver").assign_coords(expver=[1, 5, 2])
    versions = versions.assign({name: array.assign_attrs(frames[name].attrs) for name, array in versions.items()})
    found = _inspect(other, write_netcdf(versions, tmp_path / "e.nc"))
    assert found.can_start
    assert _reasons(found) == {
        "at another level (height 100 m), not at 10 m",
        "of the preliminary experiment version, and the final one is there",
        "without any value",
    }


def _metres(value: float) -> xr.DataArray:
    return xr.DataArray(value, attrs={"units": "m", "standard_name": "height"})


def test_members_that_are_left_out_are_listed(tmp_path: Path) -> None:
    paths = []
    for index, labels in enumerate(([0, 1], [1, 2])):
        frames = state().isel(time=[index])
        members = xr.concat([frames, frames], "number").assign_coords(number=labels)
        members = members.assign({name: array.assign_attrs(frames[name].attrs) for name, array in members.items()})
        paths.append(write_netcdf(members, tmp_path / f"{index}.nc"))
    found = _inspect(*paths)
    assert [row.members for row in found.found] == [(0, 1), (1, 2)]
    assert [source.members for source in found.chosen] == [(1,), (1,)]
    assert found.chosen[0].notes == ("left out: member 0, 2, which is not in every frame",)
    assert _reasons(found) == {"of a member that is left out"}


def test_what_prevents_a_forecast_is_a_problem_and_the_table_is_complete(grib: Callable[..., Path]) -> None:
    path = grib("a.grib2", state(frames=1))
    found = _inspect(path, path.with_name("missing.nc"))
    assert (found.can_start, found.init_time, found.chosen) == (False, None, ())
    assert len(found.found) == 1
    assert len(found.problems) == 1
    assert "missing.nc" in found.problems[0]
    (alone,) = _inspect(path).problems
    assert "needs two frames 6 h apart" in alone


def test_a_state_that_is_refused_shows_what_was_chosen(grib: Callable[..., Path]) -> None:
    frames = state()
    frames.u10[-1] = 0.0
    found = _inspect(grib("a.grib2", frames))
    assert not found.can_start
    assert len(found.chosen) == 2
    assert "`u10`" in found.problems[0]


def test_other_fields_and_requested_variables_are_listed(tmp_path: Path) -> None:
    frames = state()
    frames["t2m"] = (frames.u10 + 280).assign_attrs(units="K")
    frames["swh"] = frames.u10
    path = write_netcdf(frames, tmp_path / "a.nc")
    assert _inspect(path).other_fields == {str(path): ("t2m", "swh")}
    found = _inspect(path, variables=["u10", "t2m"])
    assert found.can_start
    assert [row.variables for row in found.found] == [("u10",), ("t2m",)]


def test_a_given_time_is_chosen(grib: Callable[..., Path]) -> None:
    path = grib("a.grib2", state(frames=4))
    found = _inspect(path, init_time=np.datetime64("2018-09-14T18", "s"))
    assert [source.valid_time for source in found.chosen] == ["2018-09-14T12:00:00", "2018-09-14T18:00:00"]


def test_only_the_chosen_frames_are_decoded(grib: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    original = inspection.Choice.read

    def read(choice: inspection.Choice, record: inspection.Record) -> object:
        decoded.append((record.variable, record.valid_time))
        return original(choice, record)

    monkeypatch.setattr(inspection.Choice, "read", read)
    assert _inspect(grib("a.grib2", state(frames=9))).can_start
    assert len(set(decoded)) == 4


def test_files_are_renamed_everywhere_and_json_is_stable(grib: Callable[..., Path]) -> None:
    path = grib("a.grib2", state(frames=1))
    renamed = rename_files(_inspect(path), lambda text: text.replace(str(path), 'my "file"'))
    assert str(path) not in renamed.model_dump_json()
    assert renamed.files == ('my "file"',)
    assert Inspection.model_validate_json(renamed.model_dump_json()) == renamed
