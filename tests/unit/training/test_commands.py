import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from models.testing import tiny_spec
from storage.errors import DataDirectoryError
from storage.lock import claim_output
from warmcast.cli import app
from weather.climatology import Climatology
from weather.errors import VerificationError
from weather.manifest import read_manifest
from weather.regrid import regrid
from weather.testing import travelling_waves

pytestmark = pytest.mark.usefixtures("closed_data")

STARTS, MEMBERS = 3, 4


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six weeks around the New Year of 2001; the training year of the tiny checkpoint is 2000."""
    folder = tmp_path_factory.mktemp("data")
    times = [np.datetime64("2000-12-10T00", "s") + np.timedelta64(6 * step, "h") for step in range(170)]
    travelling_waves(tiny_spec().grid.grid, times).to_netcdf(folder / "waves.nc")
    return folder


def _evaluate(checkpoint: Path, data: Path, output: Path, *more: object) -> Result:
    options = ["--starts", STARTS, "--members", MEMBERS, "--lead-time", "12h", "--nfe", 2, "--batch-size", 2]
    arguments = ["evaluate", "--checkpoint", checkpoint, "--data", data, "--json", output, *options, *more]
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_scores_are_written_with_references_and_starts(untrained_checkpoint: Path, years: Path, tmp_path: Path) -> None:
    result = _evaluate(untrained_checkpoint, years, tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out.json").read_text())
    settings = written["settings"]
    assert len(settings["starts"]) == STARTS
    assert all(start.startswith("2001") for start in settings["starts"])
    assert (settings["members"], settings["nfe"], settings["solver"]) == (MEMBERS, 2, "midpoint")
    first, second = written["scores"]["u10"]
    assert (first["lead_hours"], second["lead_hours"]) == (6, 12)
    low, high = first["intervals"]["crps_fair"]
    assert low <= first["crps_fair"] <= high
    assert len(first["ranks"]) == MEMBERS + 1
    assert "u10" in result.output
    assert "This takes about" in result.stderr
    assert set(written["scores"]) == {"u10", "v10", "wind_speed_10m"}
    assert [row["lead_hours"] for row in written["energy"]] == [6, 12]
    event = written["events"]["wind_speed_10m > 10"][1]
    assert 0 <= event["brier_fair"] <= 1
    assert sum(event["forecast"]) == pytest.approx(1)
    fit = written["warm_start"]["v10"]
    assert sum(fit["pit"]) == pytest.approx(1)
    assert 0 <= fit["coverage_50"] <= fit["coverage_90"] <= 1


def test_two_samplers_are_compared_from_the_same_starts_and_rollouts_are_tested(
    untrained_checkpoint: Path, years: Path, tmp_path: Path
) -> None:
    options = ["--against-sampler", "solver=euler,nfe=1", "--score-at", "12h", "--stability", "--stability-days", 1]
    report = tmp_path / "out.html"
    arguments = (*options, "--stability-starts", 2)
    result = _evaluate(untrained_checkpoint, years, tmp_path / "out.json", *arguments, "--html", report)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out.json").read_text()
    written = json.loads(text)
    assert [row["lead_hours"] for row in written["scores"]["u10"]] == [12]
    control, other = written["comparisons"]
    assert (control, other) == ("Gaussian noise, no flow", "untrained, euler, NFE 1, noise white")
    comparison = written["comparisons"][other]
    ours, theirs = (scores["v10"][0]["crps_fair"] for scores in (written["scores"], comparison["scores_of_other"]))
    assert comparison["scores"]["v10"][0]["crps_fair"]["difference"] == pytest.approx(ours - theirs)
    assert ours != theirs
    assert written["settings"]["evaluations_per_step"] == 3
    assert len(written["stability"]["starts"]) == 2
    assert f"relative to {other}" in result.output
    assert "Stability: " in result.output
    for heading in (f"Compared with {other}", "Stability"):
        assert f"<h2>{heading}</h2>" in report.read_text()
    assert _evaluate(untrained_checkpoint, years, tmp_path / "out.json", *arguments).exit_code == 0
    assert (tmp_path / "out.json").read_text() == text


def test_persistence_is_scored_as_a_forecast_of_no_change(
    untrained_checkpoint: Path, years: Path, tmp_path: Path
) -> None:
    _evaluate(untrained_checkpoint, years, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    with xr.open_dataset(years / "waves.nc") as waves:
        grid = tiny_spec().grid.grid
        starts = [np.datetime64(start) for start in written["settings"]["starts"]]
        errors = [
            abs(waves.v10.sel(time=start + np.timedelta64(12, "h")) - waves.v10.sel(time=start)).mean("longitude")
            for start in starts
        ]
        expected = np.mean([(error.values * grid.area_weights).mean() for error in errors])
    assert written["scores"]["v10"][1]["persistence_mae"] == pytest.approx(float(expected), rel=1e-5)


def test_an_interrupted_evaluation_resumes_to_the_same_scores(
    untrained_checkpoint: Path, years: Path, tmp_path: Path
) -> None:
    _evaluate(untrained_checkpoint, years, tmp_path / "out.json")
    whole = (tmp_path / "out.json").read_text()
    records = tmp_path / "out.records.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + STARTS
    records.write_text("".join(lines[:2]) + lines[2][: len(lines[2]) // 2])
    (tmp_path / "out.json").unlink()
    assert _evaluate(untrained_checkpoint, years, tmp_path / "out.json").exit_code == 0
    assert (tmp_path / "out.json").read_text() == whole
    assert records.read_text() == "".join(lines)


def test_two_processes_do_not_write_one_evaluation(untrained_checkpoint: Path, years: Path, tmp_path: Path) -> None:
    with claim_output(tmp_path / "out.records.jsonl", DataDirectoryError("first")):
        refused = _evaluate(untrained_checkpoint, years, tmp_path / "out.json")
    assert refused.exit_code == 2
    assert f"Another evaluation writes `{tmp_path}/out.json`." in refused.stderr
    assert not (tmp_path / "out.records.jsonl").exists()


def test_records_of_other_settings_are_refused(untrained_checkpoint: Path, years: Path, tmp_path: Path) -> None:
    _evaluate(untrained_checkpoint, years, tmp_path / "out.json")
    result = _evaluate(untrained_checkpoint, years, tmp_path / "out.json", "--seed", 5)
    assert result.exit_code == 2
    assert "evaluation of other settings" in result.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--starts", 500), "`starts` must be at most"),
        (("--years", 1999), "The data must have frames of 1999, by default"),
        (("--years", 1999), "The data runs from 2000-12-10T00:00:00 to 2001-01-21T06:00:00"),
        (("--starts", 0), "--starts"),
        (("--lead-time", "7h"), "`lead_time` must be a positive multiple of 6h"),
        (("--score-at", "18h"), "`score_at` must be at most `lead_time`, 12h. Got: 18h."),
        (("--against-sampler", "nfe"), "`against_sampler` must be a list such as solver=euler,nfe=4"),
        (("--natural-years", "2000-2001"), "`natural_years` must be two or more whole years"),
        (("--stability", "--stability-starts", 999), "`stability_starts` must be at most"),
    ],
)
def test_an_impossible_evaluation_is_refused_with_its_reason(
    options: tuple[str, object], named: str, untrained_checkpoint: Path, years: Path, tmp_path: Path
) -> None:
    result = _evaluate(untrained_checkpoint, years, tmp_path / "out.json", *options)
    assert result.exit_code == 2
    assert named in result.stderr
    assert not (tmp_path / "out.json").exists()
    assert not (tmp_path / "out.records.jsonl").exists()


def test_unusable_data_is_refused_with_its_reason(untrained_checkpoint: Path, years: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.nc").write_text("no NetCDF")
    with xr.open_dataset(years / "waves.nc") as waves:
        waves.sel(time=waves.time.dt.year == 2001).to_netcdf(tmp_path / "2001.nc")
    for name, named in (
        ("nowhere", "`data` must be a file, a Zarr store, a folder of them, or an address"),
        ("empty", "must hold files or Zarr stores whose names end with .nc, "),
        ("text.nc", "text.nc` must be GRIB, NetCDF or Zarr"),
        ("2001.nc", "Climatology needs 50 states of 2000"),
    ):
        result = _evaluate(untrained_checkpoint, tmp_path / name, tmp_path / "out.json")
        assert result.exit_code == 2
        assert named in result.stderr
        assert "This takes about" not in result.stderr
        assert not (tmp_path / "out.records.jsonl").exists()


def test_the_report_is_one_page_with_embedded_pictures(untrained_checkpoint: Path, years: Path, tmp_path: Path) -> None:
    result = _evaluate(untrained_checkpoint, years, tmp_path / "out.json", "--html", tmp_path / "new/out.html")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "new/out.html").read_text()
    assert page.count("data:image/png;base64,") == 8
    assert "10 metre u wind component" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    first = json.loads((tmp_path / "out.json").read_text())["scores"]["u10"][0]
    assert f">{first['crps_fair']:.3f}</td>" in page
    for heading in ("Scores of whole fields", "Compared with Gaussian noise, no flow", "Residuals"):
        assert f"<h2>{heading}</h2>" in page
    assert "relative to flat. Hover over a number to see its 95 % interval" in page


def test_verification_reads_the_climatology_that_is_written(
    untrained_checkpoint: Path, years: Path, tmp_path: Path
) -> None:
    output = tmp_path / "climatology.nc"
    arguments = ["climatology", "--checkpoint", untrained_checkpoint, "--data", years, "--output", output]
    arguments += ["--valid-time", "2001-01-10T00"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "50 states of 2000" in result.output
    with xr.open_dataset(output) as written:
        assert set(written.time.dt.year.values) == {2000}
        assert dict(written.sizes) | {"state": 50} == dict(written.sizes)
        truth = xr.open_dataset(years / "waves.nc").sel(time=written.time.values)
        np.testing.assert_allclose(written.u10.values, truth.u10.transpose(*truth.u10.dims).values, atol=1e-5)
        weights = np.asarray(tiny_spec().grid.grid.area_weights)
        power = float(((written.u10**2).mean(("state", "longitude")).values * weights).sum() / weights.sum())
        assert float(written.u10_spectrum.sum()) == pytest.approx(power, rel=0.05)
    grid = tiny_spec().grid.grid
    assert Climatology.read(output, ("v10", "u10"), grid).states.shape == (50, 2, *grid.shape)
    with pytest.raises(VerificationError, match="must be a file of `warmcast climatology` with t2m"):
        Climatology.read(output, ("t2m",), grid)


def test_a_pooled_climatology_has_states_of_all_dates_of_the_periods(
    untrained_checkpoint: Path, years: Path, tmp_path: Path
) -> None:
    arguments = ["climatology", "--checkpoint", untrained_checkpoint, "--data", years, "--valid-time", "2001-07-01T00"]
    arguments += ["--years", "2000-12-12/2001-01-10", "--output", tmp_path / "c.nc"]
    words = [str(argument) for argument in arguments]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "needs 50 states of 2000-12-12/2001-01-10 within 35 days of the date of 2001-07-01" in refused.stderr
    result = CliRunner().invoke(app, [*words, "--pooled"], catch_exceptions=False)
    assert "50 states of 2000-12-12/2001-01-10" in result.stdout
    with xr.open_dataset(tmp_path / "c.nc") as written:
        assert [str(time)[:13] for time in written.time.values[[0, -1]]] == ["2000-12-12T00", "2001-01-10T18"]


def test_an_invalid_valid_time_is_refused(untrained_checkpoint: Path, years: Path, tmp_path: Path) -> None:
    arguments = ["climatology", "--checkpoint", str(untrained_checkpoint), "--data", str(years)]
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "c.nc"), "--valid-time", "soon"])
    assert result.exit_code == 2
    assert "`valid_time` must be a time" in result.stderr
    assert not (tmp_path / "c.nc").exists()


def test_data_on_another_grid_are_regridded_to_that_of_the_checkpoint(
    untrained_checkpoint: Path, tmp_path: Path
) -> None:
    times = [np.datetime64("2000-12-10T00", "s") + np.timedelta64(6 * step, "h") for step in range(60)]
    fine = travelling_waves(tiny_spec(32, 64).grid.grid, times)
    fine.to_netcdf(tmp_path / "fine.nc")
    output = tmp_path / "climatology.nc"
    arguments = ["climatology", "--checkpoint", untrained_checkpoint, "--data", tmp_path / "fine.nc"]
    arguments += ["--output", output, "--valid-time", "2001-01-01T00"]
    result = CliRunner().invoke(app, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    with xr.open_dataset(output) as written:
        expected = regrid(fine, tiny_spec().grid.grid).sel(time=written.time.values)
        np.testing.assert_allclose(written.u10.values, expected.u10.values, atol=1e-5)


def test_extremes_of_the_training_years_are_added_to_a_manifest(
    untrained_checkpoint: Path, years: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(untrained_checkpoint, tmp_path / "untrained")
    before = read_manifest(folder)
    arguments = ["checkpoint", "extremes", str(folder), "--data", str(years), "--json"]
    receipt = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    after = read_manifest(folder)
    assert after.model.extremes is not None
    assert receipt["extremes"] == after.model.extremes.model_dump(mode="json")
    assert (receipt["digest"], receipt["years"], receipt["frames"]) == (after.digest, [2000], 88)
    assert after.digest != before.digest
    assert after.model.model_copy(update={"extremes": None}) == before.model
