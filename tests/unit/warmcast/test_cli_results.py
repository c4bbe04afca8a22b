import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from warmcast import cli_catalogue, cli_models, cli_remote, cli_results
from warmcast.cli import app
from warmcast.tables import Column, format_document, format_table

PLAN: dict[str, Any] = {
    "request": {
        "initial_state": {"source": "catalogue", "dataset": "gfs", "init_time": "2018-09-15T00:00:00"},
        "model": "earth",
        "members": 8,
        "lead_time": "120h",
        "seed": 5,
        "sampler": {"solver": "single", "nfe": 1},
    },
    "network_evaluations": 3200,
    "seconds": None,
    "wait_seconds": 90.0,
    "memory_bytes": None,
    "store_bytes": 1_250_000_000,
    "uncompressed_bytes": 2_000_000_000_000_000,
    "other_bytes": 12,
    "warnings": [{"message": "The state is unusual."}],
}
RUNNING: dict[str, Any] = {
    "members": [0, 1],
    "valid_time": ["2018-09-15T00:00:00Z", "2018-09-15T06:00:00Z"],
    "lead_hours": [0, 6],
    "num_finite": [2, 1],
    "units": {"u10": "m s-1"},
    "complete_lead_times": 1,
    "num_lead_times": 4,
    "positions": [{"longitude": 2.4, "latitude": 48.9, "values": {"u10": [[1.0, 2.0], [1.5, None]]}}],
}


class Recorder:
    """Stands for the command table: records the command and its options, and returns a result."""

    def __init__(self, result: Any) -> None:
        self.result, self.command, self.options = result, "", dict[str, Any]()

    def __call__(self, command: str, **options: Any) -> Any:
        self.command, self.options = command, options
        return self.result


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Any:
    def record(result: Any) -> Recorder:
        recorder = Recorder(result)
        for module in (cli_catalogue, cli_models, cli_remote, cli_results):
            monkeypatch.setattr(module, "run", recorder)
        return recorder

    return record


def _invoke(*arguments: object, text: str = "") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=text, catch_exceptions=False)


def test_a_plan_takes_the_options_of_submit(record: Any) -> None:
    recorder, options = record(PLAN), ["--members", 3, "--label", "a=b", "--keep-bits", 7, "--deadline", 60]
    planned = _invoke("plan", "gfs", *options)
    plan = recorder.options
    recorder = record(PLAN | {"links": [], "id": "fc_1", "status": "accepted", "init_time": "", "progress_detail": {}})
    recorder.result["progress_detail"] = {"lead_times": 0, "num_lead_times": 20}
    assert _invoke("submit", "gfs", *options).exit_code == 0
    assert recorder.options == plan | {"key": None}
    assert planned.stderr == "Warning: The state is unusual.\n"
    lines = planned.stdout.splitlines()
    assert lines[0].startswith("8 members, 120h from 2018-09-15T00:00:00, model earth, seed 5")
    assert lines[2] == "Duration: unknown: no forecast was measured yet; wait in the queue: 1min"
    assert "1.25 GB stored, 2e+03 TB without compression; other files: 12 B" in lines[4]


def test_a_submission_without_a_state_says_what_is_needed(record: Any) -> None:
    record(PLAN)
    result = _invoke("plan")
    assert (result.exit_code, "warmcast catalogue" in result.stderr) == (2, True)


@pytest.mark.parametrize("place", ["51.5", "a,b", "1,2,3", ""])
def test_a_place_is_longitude_and_latitude(place: str, record: Any) -> None:
    record(RUNNING)
    result = _invoke("position", "fc_1", "--at", place)
    assert (result.exit_code, "--at" in result.stderr) == (2, True)


def test_series_of_a_running_forecast_say_how_far_it_is_and_which_members_are_lost(record: Any) -> None:
    recorder = record(RUNNING)
    result = _invoke("position", "fc_1", "--at", "2.4,48.9", "--members", "--datetime", "2018-09-15T06:00Z/..")
    assert recorder.options["places"] == [(48.9, 2.4)]
    assert recorder.options["options"]["times"] == "2018-09-15T06:00Z/.."
    assert result.stdout.splitlines()[:4] == [
        "u10 (m s-1) at 2.4, 48.9 (longitude, latitude)",
        "valid (UTC)       lead    #0    #1  members",
        "2018-09-15T00:00    0h  1.00  2.00        2",
        "2018-09-15T06:00    6h  1.50     –        1",
    ]
    assert result.stderr == "1 of 4 lead times are complete; repeat the command for more.\n"
    wrong = _invoke("position", "fc_1", "--at", "2.4,48.9", "--members", "--exceedance", "u10>1")
    assert (wrong.exit_code, "--exceedance" in wrong.stderr) == (2, True)


def test_an_area_is_a_box_or_a_polygon_whose_mean_is_printed(record: Any) -> None:
    reduced = {name: value for name, value in RUNNING.items() if name != "positions"}
    recorder = record(reduced | {"reduce": "mean", "num_points": 35, "values": {"u10": {"mean": [1.0, None]}}})
    result = _invoke("area", "fc_1", "--bbox", "5,45,15,55", "--exceedance", "u10>1")
    assert recorder.options["area"] == (5, 45, 15, 55)
    assert recorder.options["options"]["reduce"] == "mean"
    assert result.stdout.splitlines()[0] == "u10 (m s-1) mean of 35 grid points"
    polygon = "POLYGON((5 45,15 45,15 55,5 45))"
    assert _invoke("area", "fc_1", "--polygon", polygon, "--reduce", "none").exit_code == 0
    assert (recorder.options["area"], recorder.options["options"]["reduce"]) == (polygon, "none")
    for wrong in ([], ["--bbox", "1,2,3"], ["--bbox", "1,2,3,4", "--polygon", polygon]):
        refused = _invoke("area", "fc_1", *wrong)
        assert (refused.exit_code, "--bbox" in refused.stderr) == (2, True)


@pytest.mark.parametrize("name", ["models", "catalogue"])
def test_lists_of_a_service_are_tables_or_json(name: str, record: Any) -> None:
    model: dict[str, Any] = {"id": "earth", "variables": ["u10", "v10"], "grid": {"latitudes": 48, "longitudes": 96}}
    model |= {"time_step_hours": 6, "max_lead_hours": 360, "max_members": 1000}
    model["sampling"] = {"solver": "single", "nfe": 1}
    receipt = {"models": [model], "states": [{"dataset": "earth", "init_time": "2018-09-15T00"}]}
    recorder = record(receipt)
    assert _invoke(name).stdout.splitlines()[1].startswith("earth")
    assert json.loads(_invoke(name, "--json").stdout) == receipt
    assert recorder.command == name


def test_nothing_is_deleted_without_consent(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = record({"id": "fc_1", "status": "successful", "data": "deleted"})
    result = _invoke("delete", "fc_1")
    assert (result.exit_code, "--yes" in result.stderr, recorder.command) == (2, True, "")
    monkeypatch.setattr(cli_results, "_is_terminal", lambda: True)
    assert (_invoke("delete", "fc_1", text="n\n").exit_code, recorder.command) == (1, "")
    assert _invoke("delete", "fc_1", text="y\n").exit_code == 0
    assert (recorder.command, recorder.options["forecast_id"]) == ("delete", "fc_1")


def test_a_table_fits_its_width_by_leaving_out_columns_of_high_rank() -> None:
    columns = [Column("id", ["fc_1", "fc_22"]), Column("seed", ["12345", "6"], is_number=True, rank=1)]
    columns += [Column("x", ["1", "2"], rank=2), Column("empty", ["", ""])]
    assert format_table(columns) == ["id      seed  x", "fc_1   12345  1", "fc_22      6  2"]
    assert format_table(columns, 12) == ["id      seed", "fc_1   12345", "fc_22      6"]
    assert format_table(columns, 11) == ["id     x", "fc_1   1", "fc_22  2"]


def test_a_document_is_nested_lines() -> None:
    document = {"a": {"b": None, "c": [1, 2]}, "d": [{"e": True}], "f": []}
    assert [*format_document(document)] == ["a:", "  b: –", "  c: 1, 2", "d 0:", "  e: yes", "f: none"]
