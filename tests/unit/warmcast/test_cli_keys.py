import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from warmcast import cli_remote
from warmcast.cli import app


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def _key(tmp_path: Path, *options: object) -> dict[str, Any]:
    key: dict[str, Any] = json.loads(_invoke("key", "create", "desk", "--data", tmp_path, "--json", *options).stdout)
    return key


def test_a_key_is_created_with_limits_of_its_own(tmp_path: Path) -> None:
    key = _key(tmp_path, "--open-forecasts", 3, "--no-high-priority")
    assert key["limits"] == {"open_forecasts": 3, "high_priority": False}
    header, role, limits = _invoke("key", "list", "--data", tmp_path).stdout.splitlines()
    assert header.startswith(key["id"])
    assert header.endswith("valid               desk")
    assert role == "    submitter, does not expire, never used"
    assert limits.split(", ") == [
        "    open_forecasts 0 of 3*",
        "forecast_evaluations 1000000",
        "day_evaluations 0 of 10000000",
        "kept_bytes 0 of 100000000000",
        "uploads 4",
        "high_priority no*",
    ]


def test_limits_of_a_key_are_changed_one_by_one_and_removed_together(tmp_path: Path) -> None:
    key = _key(tmp_path, "--uploads", 1)
    printed = _invoke("key", "limit", key["id"], "--kept-bytes", 5, "--data", tmp_path).stdout
    assert "kept_bytes 0 of 5*, uploads 1*" in printed
    changed = json.loads(_invoke("key", "limit", key["id"], "--high-priority", "--data", tmp_path, "--json").stdout)
    assert changed["limits"] == {"kept_bytes": 5, "uploads": 1, "high_priority": True}
    again = _invoke("key", "limit", key["id"], "--defaults", "--uploads", 2, "--data", tmp_path, "--json").stdout
    assert json.loads(again)["limits"] == {"uploads": 2}


@pytest.mark.parametrize("options", [("--uploads", "-1"), ("--uploads", "many"), ("--uploads", 2**40)])
def test_a_limit_that_is_not_possible_is_refused(options: tuple[object, ...], tmp_path: Path) -> None:
    key = _key(tmp_path)
    result = _invoke("key", "limit", key["id"], *options, "--data", tmp_path)
    assert result.exit_code == 2
    assert "uploads" in result.stderr


def test_the_limits_of_a_caller_are_printed_with_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [
        {"name": "day_evaluations", "value": 100, "used": 7, "frees": "2026-11-27T00:00:00Z"},
        {"name": "uploads", "value": None, "used": None, "frees": None},
    ]
    monkeypatch.setattr(cli_remote, "run", lambda *_, **__: {"high_priority": True, "limits": limits})
    assert [line.split() for line in _invoke("limits").stdout.splitlines()] == [
        ["day_evaluations", "100", "7", "used", "until", "2026-11-27T00:00:00Z"],
        ["uploads", "no", "limit"],
        ["high_priority", "yes"],
    ]
