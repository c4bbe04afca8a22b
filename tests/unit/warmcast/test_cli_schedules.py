import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.warmcast.scripted import Run, answer
from warmcast import cli_schedules, schedule_verbs
from warmcast.cli import app
from warmcast.errors import ServiceUnreachableError
from warmcast.exchange import Service

SCHEDULE: dict[str, Any] = {
    "id": "sc_1",
    "name": "north sea",
    "state": "active",
    "reason": None,
    "dataset": "gfs",
    "every_hours": 6,
    "next_run": "2026-03-01T12:00:00",
    "last_run": {"init_time": "2026-03-01T06:00:00", "state": "submitted"},
    "late": 1,
    "counts": {"submitted": 3, "missed": 1},
}
RUN: dict[str, Any] = {
    "init_time": "2026-03-01T06:00:00",
    "state": "failed",
    "forecast": None,
    "problem": {"detail": "No room."},
    "verification": {"state": "off"},
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The commands that were run, with their options."""
    recorded = list[tuple[str, dict[str, Any]]]()
    receipts = {
        "schedules list": {"schedules": [SCHEDULE]},
        "schedules runs": {"runs": [RUN]},
        "schedules delete": {"deleted": "sc_1"},
        "schedules latest": {"id": "fc_1", "init_time": "2026-03-01T06:00:00", "status": "successful"},
    }

    def run(command: str, **options: Any) -> Any:
        recorded.append((command, options))
        return receipts.get(command, SCHEDULE)

    monkeypatch.setattr(cli_schedules, "run", run)
    return recorded


def test_a_schedule_is_made_from_options_and_a_file(calls: list[Any], tmp_path: Path) -> None:
    (tmp_path / "forecast.json").write_text('{"members": 50}')
    options = ["--every", "12", "--catch-up", "3", "--no-verify", "--forecast", str(tmp_path / "forecast.json")]
    made = CliRunner().invoke(app, ["schedules", "create", "north sea", "gfs", *options])
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("sc_1  active   2026-03-01T12:00:00  north sea\n")
    assert "3 submitted, 1 missed; 1 late" in made.stdout
    body = calls[0][1]["body"]
    assert (body["every_hours"], body["catch_up"], body["verify"], body["forecast"]) == (12, 3, False, {"members": 50})


@pytest.mark.parametrize("text", ["[1]", "{"])
def test_a_file_that_is_no_object_is_refused(calls: list[Any], tmp_path: Path, text: str) -> None:
    (tmp_path / "forecast.json").write_text(text)
    options = ["--forecast", str(tmp_path / "forecast.json")]
    assert CliRunner().invoke(app, ["schedules", "create", "a", "gfs", *options]).exit_code == 2
    assert calls == []


def test_schedules_are_printed_paused_resumed_and_deleted(calls: list[Any]) -> None:
    invoke = CliRunner().invoke
    assert json.loads(invoke(app, ["schedules", "show", "sc_1", "--json"]).stdout) == SCHEDULE
    assert invoke(app, ["schedules", "list"]).stdout.startswith("sc_1")
    assert invoke(app, ["schedules", "runs", "sc_1", "--state", "failed"]).stdout.endswith("No room.\n")
    assert invoke(app, ["schedules", "pause", "sc_1"]).exit_code == 0
    assert invoke(app, ["schedules", "resume", "sc_1"]).exit_code == 0
    assert invoke(app, ["schedules", "latest", "sc_1"]).stdout.startswith("fc_1")
    assert json.loads(invoke(app, ["schedules", "delete", "sc_1", "--json"]).stdout) == {"deleted": "sc_1"}
    assert [command for command, _ in calls][3:5] == ["schedules pause", "schedules resume"]


def test_an_unreachable_service_has_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: str, **options: Any) -> Any:
        raise ServiceUnreachableError("The service cannot be reached.")

    monkeypatch.setattr(cli_schedules, "run", run)
    assert CliRunner().invoke(app, ["schedules", "list"]).exit_code == ServiceUnreachableError.exit_code


def test_verbs_send_the_fields_of_the_api() -> None:
    service = Service("http://localhost:8000", None, 60.0)
    fields: dict[str, Any] = {"forecast": {"members": 2}, "every_hours": 12, "idempotency_key": "k"}
    made = Run(schedule_verbs.create_schedule(service, "a", "gfs", **fields), [answer({"id": "sc_1"})])
    (request,) = made.requests
    assert (request.method, request.path, request.headers) == ("POST", "/schedules", {"Idempotency-Key": "k"})
    assert request.json == {"name": "a", "dataset": "gfs", "forecast": {"members": 2}, "every_hours": 12}
    changed = Run(schedule_verbs.change_schedule(service, "sc/1", state="paused"), [answer({"id": "sc_1"})])
    assert (changed.requests[0].method, changed.requests[0].path) == ("PATCH", "/schedules/sc%2F1")
    runs = Run(schedule_verbs.schedule_runs(service, "sc_1", state="failed"), [answer({"runs": [RUN]})])
    assert runs.requests[0].parameters == {"limit": 50, "state": "failed"}
    assert runs.result == [RUN]
