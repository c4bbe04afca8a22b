import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.inputs import grib_messages, state, write_grib
from warmcast.cli import app


def _inspect(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.smoke
def test_files_that_can_start_a_forecast_are_listed_with_what_is_chosen(gfs_files: list[Path]) -> None:
    result = _inspect(*gfs_files)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "variables level valid times (UTC) kind grid unit" in text
    assert "u10, v10 height 10 m 2018-09-14T18:00" in text
    assert "181 × 360 m s**-1" in text
    assert "Chosen for a forecast from 2018-09-15T00:00 UTC by the checkpoint earth:" in text
    assert f"- u10, v10 of 2018-09-15T00:00 in {gfs_files[1]}" in text
    assert "No forecast can start" not in text


@pytest.mark.parametrize("name", ["a" * 150, " ".join(["two  words"] * 12)])
def test_lines_are_short_but_for_paths_which_are_never_broken(gfs_files: list[Path], tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    copies = [shutil.copy(gfs_files[1], folder / name) for name in ("newest.grib2", "again.grib2")]
    (folder / "cut.grib2").write_bytes(gfs_files[1].read_bytes()[:10_000])
    for files in (copies, [folder / "cut.grib2"]):
        lines = _inspect(gfs_files[0], *files).stdout
        for file in files:
            assert lines.count(str(file)) >= 2, lines
            lines = lines.replace(str(file), "")
        assert max(map(len, lines.replace(str(gfs_files[0]), "").splitlines())) <= 100


def test_json_has_the_same_facts(gfs_files: list[Path]) -> None:
    result = _inspect(*gfs_files, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert list(report) == [
        "checkpoint",
        "files",
        "can_start",
        "init_time",
        "found",
        "other_fields",
        "chosen",
        "unused",
        "warnings",
        "problems",
    ]
    assert report["files"] == [str(path) for path in gfs_files]
    assert [source["valid_time"] for source in report["chosen"]] == ["2018-09-14T18:00:00", "2018-09-15T00:00:00"]


def test_files_that_cannot_are_listed_too_with_code_2(gfs_files: list[Path], tmp_path: Path) -> None:
    result = _inspect(gfs_files[0])
    assert result.exit_code == 2
    assert "u10, v10" in result.stdout
    assert "No forecast can start from these files:" in result.stdout
    assert "needs two frames 6 h apart" in " ".join(result.stdout.split())
    missing = _inspect(tmp_path / "none.grib2", "--json")
    assert missing.exit_code == 2
    assert not json.loads(missing.stdout)["can_start"]


def test_forecasts_have_runs_and_steps_and_the_rest_its_reason(tmp_path: Path) -> None:
    frames = state()
    path = write_grib(tmp_path / "a.grib2", [*grib_messages(frames, step_hours=12), *grib_messages(frames[["u10"]])])
    text = " ".join(_inspect(path).stdout.split())
    assert "valid times (UTC) runs steps in h" in text
    assert "0 to 12" in text
    assert "2018-09-14T06:00" in text
    assert f"- 2 records of u10 in {path}: without the other variables of its time and run" in text
    assert "note: a forecast of 12 h, not an analysis" in text


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--variables", "u10,nothing", "`variables` must be some of u10, v10, t2m, msl"),
        ("--init-time", "noon", "`init_time` must be a time such as 2018-09-15T00"),
        ("--checkpoint", "nobody", "No checkpoint is named `nobody`"),
    ],
)
def test_wrong_options_are_refused(gfs_files: list[Path], option: str, value: str, message: str) -> None:
    result = _inspect(*gfs_files, option, value)
    assert result.exit_code == 2
    assert message in result.stderr


def test_many_members_are_ranges_and_many_other_fields_are_counted(tmp_path: Path) -> None:
    frames = state()
    for index in range(20):
        frames[f"other{index}"] = frames.u10
    frames.to_netcdf(tmp_path / "a.nc")
    text = " ".join(_inspect(tmp_path / "a.nc").stdout.split())
    assert "other10, other11 and 8 more" in text
