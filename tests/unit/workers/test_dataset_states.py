"""Forecasts of the command line from data sets that the settings enable."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.analyses import hour
from tests.origins import AnalysisServer, path_of, serving_analyses
from warmcast.cli import app

NOON = hour("2026-03-01T12")
_STEP = np.timedelta64(6, "h")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnalysisServer]:
    """A server with two analyses, whose data set `noaa` alone is enabled; its lookback reaches them from today."""
    with serving_analyses() as server:
        for index in range(2):
            server.publish(NOON - index * _STEP)
        file = tmp_path / "datasets.toml"
        file.write_text(server.definitions())
        settings = {
            "DATASETS": "noaa",
            "DATASETS_FILE": file,
            "DATASETS_HTTP": "1",
            "DATASETS_NETWORKS": "127.0.0.0/8,::1/128",
        }
        for name, value in (settings | {"DATA": tmp_path / "data"}).items():
            monkeypatch.setenv(f"WARMCAST_{name}", str(value))
        yield server


def _forecast(checkpoint: Path, output: Path, *options: str) -> Result:
    size = ["--members", "1", "--lead-time", "6h", "--nfe", "2", "--no-summary", "--json"]
    return CliRunner().invoke(
        app, ["forecast", *options, *size, "--checkpoint", str(checkpoint), "--output", str(output)]
    )


def test_a_forecast_starts_from_an_enabled_data_set_and_keeps_what_it_fetches(
    tiny_checkpoint: Path, server: AnalysisServer, tmp_path: Path
) -> None:
    options = "--dataset", "noaa", "--init-time", "2026-03-01T12"
    first = _forecast(tiny_checkpoint, tmp_path / "first", *options)
    assert first.exit_code == 0, first.output
    receipt = json.loads(first.stdout)
    assert receipt["init_time"] == "2026-03-01T12:00"
    assert [source["notes"] for source in receipt["sources"]] == 2 * [["data set noaa (Of a test; CC-BY-4.0)"]]
    assert {path for _, path, _ in server.requests} >= {path_of(NOON), path_of(NOON - _STEP)}
    server.requests.clear()
    assert _forecast(tiny_checkpoint, tmp_path / "second", *options).exit_code == 0
    assert server.requests == []


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (("--dataset", "ecmwf"), 2, "bundled or enabled: gfs, nature-run, noaa. Got: 'ecmwf'"),
        (("--dataset", "noaa", "--init-time", "2026-03-01T11"), 2, "every 6 h from 00 UTC. Got: '2026-03-01T11'"),
        (
            ("--dataset", "noaa", "--init-time", "2026-03-02T12"),
            4,
            "Data set noaa has no whole analysis of 2026-03-02T06:00 on localhost",
        ),
        (("--dataset", "gfs", "--initial-state", "sample"), 2, "Got: both."),
        ((), 2, "Got: neither."),
    ],
)
def test_what_cannot_be_read_is_a_clear_error(
    tiny_checkpoint: Path,
    server: AnalysisServer,
    tmp_path: Path,
    options: tuple[str, ...],
    exit_code: int,
    message: str,
) -> None:
    result = _forecast(tiny_checkpoint, tmp_path / "out", *options)
    assert result.exit_code == exit_code
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
    assert all("ecmwf" not in path for _, path, _ in server.requests)


def test_an_origin_that_is_away_is_named(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMCAST_DATASETS", "mine")
    monkeypatch.setenv("WARMCAST_DATASETS_FILE", str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text(
        f'[mine]\nkind = "folder"\nfolder = "{tmp_path}/away"\nfile = "{{yyyymmddhh}}.grib2"\n'
    )
    result = _forecast(tiny_checkpoint, tmp_path / "out", "--dataset", "mine")
    assert result.exit_code == 4
    assert "The folder of data set mine cannot be read" in " ".join(result.stderr.split())


def test_a_bundled_data_set_needs_no_setting(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = _forecast(tiny_checkpoint, tmp_path / "out", "--dataset", "gfs")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["init_time"] == "2026-04-20T00:00"
