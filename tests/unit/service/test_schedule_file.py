"""Schedules of the configuration: made, changed and deleted at each start, never twice."""

from pathlib import Path
from typing import Any

import pytest

from jobs.rows.database import Database
from jobs.schedules import ScheduleRecord, list_file_schedules
from service.dependencies import Service
from service.schedule_file import apply_file
from storage.errors import ConfigurationError
from tests.in_process import InProcess
from tests.rows import create_key

_TABLE = '[{name}]\ndataset = "gfs"\nwait_hours = {wait}\n{more}\n[{name}.forecast]\nmodel = "untrained"\nmembers = 2\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "schedules.toml"


def _table(name: str = "sea", wait: int = 12, more: str = "") -> str:
    return _TABLE.format(name=name, wait=wait, more=more)


def _apply(api: InProcess, file: Path, text: str) -> list[ScheduleRecord]:
    file.write_text(text)
    service: Service = api.app.state.service
    apply_file(service, file)
    with service.database.read() as connection:
        return list_file_schedules(connection)


def test_schedules_become_those_of_the_file(api: InProcess, database: Database, file: Path) -> None:
    key, secret = create_key(database, "desk")
    first = _apply(api, file, _table() + _table("land", more=f'owner = "{key.id}"'))
    assert [(each.plan.name, each.owner, each.plan.wait_hours) for each in first] == [
        ("sea", "local", 12),
        ("land", key.id, 12),
    ]
    again = _apply(api, file, _table() + _table("land", more=f'owner = "{key.id}"'))
    assert again == first
    (changed,) = _apply(api, file, _table(wait=20))
    assert (changed.id, changed.plan.wait_hours, changed.plan.start) == (first[0].id, 20, first[0].plan.start)
    assert _apply(api, file, "") == []
    assert _apply(api, file, _table(more=f'owner = "{key.id}"'))[0].owner == key.id
    headers = {"Authorization": f"Bearer {secret}"}
    (view,) = api.get("/v1/schedules", headers=headers).json()["schedules"]
    home = f"/v1/schedules/{view['id']}"
    assert view["source"] == "file"
    assert api.patch(home, json={"wait_hours": 5}, headers=headers).json()["type"] == "/problems/schedule-fixed"
    assert api.delete(home, headers=headers).status_code == 409
    assert api.patch(home, json={"state": "paused"}, headers=headers).json()["state"] == "paused"
    assert _apply(api, file, _table(more=f'owner = "{key.id}"'))[0].state == "paused"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sea", "cannot be read"),
        ('sea = "gfs"', "must have a table for each"),
        ('["a b"]\ndataset = "gfs"', "Got: 'a b'."),
        ("[sea]\n", "Schedule `sea` of .*: `dataset` is wrong: Field required"),
        ('[sea]\ndataset = "moon"', "Schedule `sea` of .*: `dataset` must be one of the catalogue"),
        ('[sea]\ndataset = "gfs"\nwait = 3', "`wait` is wrong: Extra inputs"),
        (_table(more='owner = "key_none"'), "`key_id` must be one that"),
    ],
)
def test_a_fault_of_the_file_is_named(api: InProcess, file: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _apply(api, file, text)


def test_a_missing_file_is_named(api: InProcess, file: Path) -> None:
    service: Any = api.app.state.service
    with pytest.raises(ConfigurationError, match="cannot be read"):
        apply_file(service, file)
