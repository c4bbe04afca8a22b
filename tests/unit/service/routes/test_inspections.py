from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from jobs.keys import create_key
from jobs.rows.database import Database
from models.testing import tiny_spec
from tests.in_process import InProcess
from weather.testing import travelling_waves

FIRST, SECOND = np.datetime64("2018-09-14T18", "s"), np.datetime64("2018-09-15T00", "s")


@pytest.fixture
def frames(tmp_path: Path) -> bytes:
    travelling_waves(tiny_spec().grid.grid, [FIRST, SECOND]).to_netcdf(tmp_path / "state.nc")
    return (tmp_path / "state.nc").read_bytes()


def _inspect(api: InProcess, *contents: bytes, query: str = "?model=untrained", **options: Any) -> httpx.Response:
    files = [("initial_state", (f"{index}.nc", content)) for index, content in enumerate(contents)]
    return api.post(f"/v1/inspect{query}", files=files, **options)


def test_an_upload_is_inspected_under_its_own_name(api: InProcess, frames: bytes) -> None:
    response = _inspect(api, frames)
    assert response.status_code == 200, response.text
    report = response.json()
    assert (report["files"], report["can_start"], report["init_time"]) == (["0.nc"], True, "2018-09-15T00:00:00")
    assert [row["variables"] for row in report["found"]] == [["u10", "v10"]]
    assert [source["file"] for source in report["chosen"]] == ["0.nc", "0.nc"]
    assert report["problems"] == []


def test_files_that_cannot_start_a_forecast_are_reported_and_not_refused(api: InProcess, frames: bytes) -> None:
    report = _inspect(api, frames, query="?model=untrained&init_time=2018-09-16T00").json()
    assert (report["can_start"], report["init_time"], report["chosen"]) == (False, None, [])
    assert "needs two frames 6 h apart" in report["problems"][0]
    assert report["found"][0]["valid_times"]["count"] == 2


def test_files_that_may_not_be_parsed_are_refused_as_by_a_submission(api: InProcess, frames: bytes) -> None:
    text = _inspect(api, b"Dear sirs")
    assert (text.status_code, text.json()["errors"][0]["pointer"]) == (415, "/initial_state")
    assert _inspect(api, frames[:2000]).status_code == 422


@pytest.mark.parametrize(
    ("query", "status", "pointer"),
    [
        ("?model=nobody", 404, "?model"),
        ("?init_time=noon", 422, "?init_time"),
        ("?initial_time=2018-09-15T00", 422, "?initial_time"),
    ],
)
def test_wrong_parameters_are_pointed_at(api: InProcess, frames: bytes, query: str, status: int, pointer: str) -> None:
    response = _inspect(api, frames, query=query)
    assert response.status_code == status, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_a_form_without_files_or_with_other_parts_is_refused(api: InProcess, frames: bytes) -> None:
    message = "with 1 to 8 files `initial_state` and nothing else"
    for form in ({"files": [("other", ("a.nc", frames))]}, {"data": {"initial_state": "text"}}, {"json": {}}):
        response = api.post("/v1/inspect", **form)
        assert response.status_code == 422, response.text
        assert message in response.json()["detail"]


def test_a_key_is_required_where_keys_exist(api: InProcess, database: Database, frames: bytes) -> None:
    with database.write() as connection:
        _, secret = create_key(connection, "someone")
    assert _inspect(api, frames).status_code == 401
    assert _inspect(api, frames, headers={"Authorization": f"Bearer {secret}"}).status_code == 200
