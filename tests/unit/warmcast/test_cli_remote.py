from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from warmcast import cli_forecast, cli_remote
from warmcast.cli import app
from warmcast.forecast_lines import describe_age

INFO: dict[str, Any] = {
    "id": "fc_1",
    "status": "running",
    "progress_detail": {"lead_times": 1, "num_lead_times": 4},
    "init_time": "2018-09-15T00:00:00",
    "created": "2026-11-22T06:00:00.000Z",
    "labels": {"project": "harbour"},
    "request": {"members": 1, "seed": 5, "lead_time": "24h"},
    "links": [{"rel": "data", "href": "http://service/v1/forecast/fc_1/ensemble.zarr"}],
}


class Recorder:
    """Stands for the command table: records the options and returns or raises what it is given."""

    def __init__(self, result: Any) -> None:
        self.result, self.options = result, dict[str, Any]()

    def __call__(self, command: str, **options: Any) -> Any:
        self.options = options
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def _record(monkeypatch: pytest.MonkeyPatch, result: Any) -> Recorder:
    recorder = Recorder(result)
    monkeypatch.setattr(cli_remote, "run", recorder)
    return recorder


def test_an_interrupt_of_watch_says_how_to_continue_and_how_to_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    _record(monkeypatch, KeyboardInterrupt())
    result = _invoke("watch", "fc_1")
    assert result.exit_code == 130
    assert result.stderr == (
        "Interrupted. The forecast continues. To follow it again: warmcast watch fc_1. To cancel it: warmcast cancel "
        "fc_1.\n"
    )


def test_an_interrupt_of_download_says_that_no_file_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    _record(monkeypatch, KeyboardInterrupt())
    assert "No file was written" in _invoke("download", "fc_1", "--output", "e.zip").stderr


def test_the_noun_of_a_number_of_members_is_singular_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _record(monkeypatch, INFO)
    assert "1 member from" in _invoke("status", "fc_1").stdout
    _record(monkeypatch, INFO | {"request": INFO["request"] | {"members": 2}})
    assert "2 members from" in _invoke("status", "fc_1").stdout


def test_a_forecast_without_data_has_nothing_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    _record(monkeypatch, INFO | {"links": []})
    result = _invoke("status", "fc_1")
    assert (result.exit_code, "Open it" in result.stdout) == (0, False)


def test_options_of_submit_become_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _record(monkeypatch, INFO)
    options = ["--solver", "euler", "--warmth", "0.5", "--nfe", 4, "--seed", 0, "--keep-bits", 7, "--key", "k"]
    assert _invoke("submit", "--initial-state", "a.grib2", "b.grib2", *options).exit_code == 0
    assert recorder.options["initial_state"] == ["a.grib2", "b.grib2"]
    assert recorder.options["key"] == "k"
    fields = recorder.options["fields"]
    assert (fields["nfe"], fields["solver"], fields["warmth"], fields["seed"]) == (4, "euler", 0.5, 0)
    assert fields["output"] == {"members": True, "keep_bits": 7}
    assert (fields["labels"], fields["retention_hours"]) == ({}, None)
    _invoke("submit", "--initial-state", "gfs", "--label", "a=1", "--label", "b=x=y", "--retention-hours", 6)
    fields = recorder.options["fields"]
    assert (fields["labels"], fields["retention_hours"]) == ({"a": "1", "b": "x=y"}, 6)
    _invoke("submit", "--initial-state", "gfs", "--deadline", 900)
    assert recorder.options["fields"]["nfe"] == "auto"


@pytest.mark.parametrize("labels", [["a"], ["=1"], ["a="], ["a=1", "a=2"]])
def test_a_label_must_have_a_name_and_a_value(labels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _record(monkeypatch, INFO)
    options = [part for label in labels for part in ("--label", label)]
    for command in (["submit", "--initial-state", "gfs"], ["list"]):
        result = _invoke(*command, *options)
        assert (result.exit_code, "--label" in result.stderr) == (2, True)


def test_a_list_says_length_seed_age_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _record(monkeypatch, {"forecasts": [INFO]})
    line = _invoke("list", "--label", "project=harbour").stdout
    assert recorder.options["labels"] == {"project": "harbour"}
    assert all(text in line for text in ("24h", "seed", " 5 ", "age", "project=harbour"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59, "59s"), (60, "1min"), (7199, "1h"), (86_400, "1d"), (2e6, "23d")],
)
def test_an_age_is_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    created = datetime.fromisoformat(INFO["created"]).timestamp()
    assert describe_age(INFO["created"], created + seconds) == text


@pytest.mark.parametrize("command", ["submit --initial-state gfs", "status fc_1", "watch fc_1", "list", "cancel fc_1"])
def test_a_url_without_a_scheme_is_one_error(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMCAST_URL", "localhost:8000")
    result = _invoke(*command.split())
    assert result.exit_code == 2
    assert "must begin with http:// or https://" in result.stderr
    assert "Got: 'localhost:8000'" in result.stderr


def test_a_file_that_does_not_exist_is_one_error() -> None:
    result = _invoke("submit", "--initial-state", "missing.grib", "--url", "http://127.0.0.1:9")
    assert (result.exit_code, result.stderr) == (2, "Error: The file `missing.grib` does not exist.\n")


@pytest.mark.parametrize("spread", [{"u10": {}, "v10": {}}, {}])
def test_a_forecast_of_less_than_a_day_has_no_line_of_spread(
    spread: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receipt: dict[str, Any] = {"init_time": "2018-09-15T00:00", "members": 1, "wall_seconds": 2.0, "spread": spread}
    receipt |= {"store": "e.zarr", "network_evaluations": 1400}
    monkeypatch.setattr(cli_forecast, "run", Recorder(receipt | {"nonfinite_members": [], "sources": []}))
    result = _invoke("forecast", "--initial-state", "sample", "--output", tmp_path)
    assert result.stdout.splitlines() == [
        "Forecast from 2018-09-15T00:00 UTC, 1 member, 1,400 network evaluations in 2 s.",
        'Open it:  xarray.open_zarr("e.zarr")',
    ]
