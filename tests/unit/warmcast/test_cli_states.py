import json
from typing import Any

import pytest
from typer.testing import CliRunner

from warmcast import cli_states
from warmcast.cli import app
from warmcast.errors import ServiceUnreachableError

STATE: dict[str, Any] = {
    "id": "st_1",
    "init_time": "2018-09-15T00:00:00",
    "bytes": 20_000,
    "grid": {"latitudes": 16, "longitudes": 32},
    "variables": ["u10", "v10"],
    "frames": 2,
    "time_step_hours": 6,
    "sources": ["a.grib2"],
    "expires": None,
    "warnings": ["It is old."],
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The commands that were run, with their options."""
    recorded = list[tuple[str, dict[str, Any]]]()

    def run(command: str, **options: Any) -> Any:
        recorded.append((command, options))
        return {"states list": {"states": [STATE]}, "states delete": {"deleted": "st_1"}}.get(command, STATE)

    monkeypatch.setattr(cli_states, "run", run)
    return recorded


def test_states_are_uploaded_listed_printed_and_deleted(calls: list[Any]) -> None:
    invoke = CliRunner().invoke
    made = invoke(app, ["states", "upload", "a.grib2", "b.grib2", "--model", "planet"])
    assert made.exit_code == 0
    assert made.stdout.startswith("st_1  2018-09-15T00:00:00      0.02 MB  a.grib2\n")
    assert "It is old." in made.stderr
    assert (calls[0][1]["initial_state"], calls[0][1]["model"]) == (["a.grib2", "b.grib2"], "planet")
    assert json.loads(invoke(app, ["states", "list", "--json"]).stdout) == {"states": [STATE]}
    assert invoke(app, ["states", "list"]).stdout.startswith("st_1  2018")
    assert json.loads(invoke(app, ["states", "show", "st_1", "--json"]).stdout) == STATE
    assert json.loads(invoke(app, ["states", "delete", "st_1", "--json"]).stdout) == {"deleted": "st_1"}


def test_a_lead_time_of_a_forecast_is_named_by_options(calls: list[Any]) -> None:
    options = ["--forecast", "fc_1", "--lead-time", "24h", "--member", "3"]
    assert CliRunner().invoke(app, ["states", "upload", *options]).exit_code == 0
    source = {"source": "forecast", "id": "fc_1", "lead_time": "24h", "member": 3}
    assert calls[0][1]["initial_state"] == source


@pytest.mark.parametrize("options", [[], ["a.nc", "--forecast", "fc_1"], ["a.nc", "--member", "3"]])
def test_options_that_contradict_each_other_are_refused(calls: list[Any], options: list[str]) -> None:
    assert CliRunner().invoke(app, ["states", "upload", *options]).exit_code == 2
    assert calls == []


def test_an_unreachable_service_has_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: str, **options: Any) -> Any:
        raise ServiceUnreachableError("The service cannot be reached.")

    monkeypatch.setattr(cli_states, "run", run)
    assert CliRunner().invoke(app, ["states", "list"]).exit_code == ServiceUnreachableError.exit_code
