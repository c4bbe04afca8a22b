"""Forecasts from data sets that are fetched when they are needed."""

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from jobs.settings import Settings
from service.app import create_app
from service.datasets import Datasets
from service.dependencies import Service
from service.routes import datasets
from tests.analyses import hour, write_analysis
from tests.helpers import wait_until
from tests.in_process import InProcess, run_in_process
from tests.served import small_request
from weather.upstream.dataset import Description

_STEP = np.timedelta64(6, "h")
NOON = hour("2026-03-01T12")


class _Clock:
    """A clock that tests set; it is three hours after `NOON` at first."""

    def __init__(self) -> None:
        self.seconds = float((NOON + np.timedelta64(3, "h")).astype(int))

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    for index in range(3):
        write_analysis(folder, NOON - index * _STEP)
    return folder


@pytest.fixture
def fed(tmp_path: Path, inbox: Path, clock: _Clock, settings: Settings) -> Iterator[InProcess]:
    """A service with the data set `mine`, a folder with the three newest analyses, and `away`, one that is missing."""
    text = '[{}]\nkind = "folder"\nfolder = "{}"\nfile = "{{yyyymmddhh}}.grib2"\nattribution = "Of mine"\n'
    file = tmp_path / "datasets.toml"
    file.write_text(text.format("mine", inbox) + text.format("away", tmp_path / "away"))
    app = create_app(settings.replace(datasets="mine,away", datasets_file=file), with_worker=False)
    with run_in_process(app) as api:
        service: Service = app.state.service
        app.state.service = dataclasses.replace(service, datasets=Datasets(service.datasets.by_name, clock))
        yield api


def _submit(api: InProcess, init_time: str | None = None, dataset: str = "mine", **options: Any) -> httpx.Response:
    source = {"source": "catalogue", "dataset": dataset} | ({} if init_time is None else {"init_time": init_time})
    return api.post("/v1/forecast", json=small_request(initial_state=source), **options)


def test_a_forecast_starts_from_the_newest_whole_analysis_unless_it_names_a_time(fed: InProcess) -> None:
    service: Service = fed.app.state.service
    assert service.datasets.find_newest("mine") == NOON
    for text, time in ((None, NOON), ("2026-03-01T06", NOON - _STEP)):
        response = _submit(fed, text)
        assert response.status_code == 202, response.text
        request = fed.get(f"/v1/forecast/{response.json()['id']}").json()["request"]
        expected = np.datetime_as_string(time, "s")
        assert request["initial_state"] == {"source": "catalogue", "dataset": "mine", "init_time": expected}


def test_the_sources_of_a_forecast_name_the_attribution_of_its_data_set(fed: InProcess) -> None:
    view = fed.get(f"/v1/forecast/{_submit(fed).json()['id']}").json()
    assert [(source["file"], source["notes"]) for source in view["sources"]] == [
        (name, ["data set mine (Of mine)"]) for name in ("2026030106.grib2", "2026030112.grib2")
    ]


@pytest.mark.parametrize(
    ("dataset", "init_time", "status", "message"),
    [
        ("mine", "2026-03-01T11", 422, "`init_time` must be a time of an analysis of mine, every 6 h from 00 UTC"),
        ("mine", "2026-03-01T18", 422, "`init_time` must not be in the future"),
        ("mine", "soon", 422, "`init_time` must be a time such as"),
        ("mine", "2026-03-01T00", 503, "Data set mine has no analysis of 2026-02-28T18:00"),
        ("away", None, 503, "The folder of data set away cannot be read"),
        ("era5", None, 422, "`dataset` must be one of the catalogue: gfs, nature-run, mine, away. Got: 'era5'."),
    ],
)
def test_what_is_not_there_is_a_clear_error(
    fed: InProcess, dataset: str, init_time: str | None, status: int, message: str
) -> None:
    response = _submit(fed, init_time, dataset)
    assert response.status_code == status, response.text
    assert message in response.json()["detail"]
    assert response.json()["retryable"] == (status == 503)


def test_a_state_of_a_data_set_is_kept_and_a_batch_has_several(fed: InProcess) -> None:
    source = {"source": "catalogue", "dataset": "mine", "model": "untrained"}
    kept = fed.post("/v1/states", json=source)
    assert (kept.status_code, kept.json()["init_time"][:13]) == (201, "2026-03-01T12"), kept.text
    series = {"dataset": "mine", "init_times": ["2026-03-01T06", "2026-03-01T12"]}
    body = small_request(initial_states=series)
    del body["initial_state"]
    assert fed.post("/v1/batch", json=body).status_code == 202


def test_the_newest_time_is_looked_up_once_a_minute_and_a_failure_has_a_beginning(
    fed: InProcess, clock: _Clock, inbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found: Datasets = fed.app.state.service.datasets
    assert found.known_newest("mine").init_time is None
    assert found.refresh("mine").init_time == NOON
    hidden = inbox.rename(inbox.with_name("hidden"))
    assert found.refresh("mine").failure is None
    clock.seconds += 61
    began = clock.seconds
    newest = found.refresh("mine")
    assert (newest.init_time, newest.failing_since) == (NOON, began)
    clock.seconds += 61
    assert found.refresh("mine").failing_since == began
    hidden.rename(inbox)
    clock.seconds += 61
    assert found.refresh("mine").failure is None
    lines = [record.message for record in caplog.records if "data set mine" in record.message]
    assert [line.partition(":")[0] for line in lines if "reached" in line] == [
        "data set mine is not reached",
        "data set mine is reached again",
    ]


def test_data_sets_are_listed_with_their_newest_time_and_a_failing_one_with_the_reason(
    fed: InProcess, clock: _Clock
) -> None:
    views = {view["dataset"]: view for view in fed.get("/v1/datasets").json()}
    assert [*views] == ["gfs", "nature-run", "mine", "away"]
    mine, away, gfs = views["mine"], views["away"], views["gfs"]
    assert (mine["status"], mine["init_time"], mine["attribution"]) == ("reached", "2026-03-01T12:00", "Of mine")
    assert (away["status"], away["init_time"], away["failing_since"]) == ("failing", None, "2026-03-01T15:00:00.000Z")
    assert away["failure"] == "The folder of data set away cannot be read. Check that it is mounted."
    assert (gfs["status"], gfs["failure"], gfs["late_hours"], gfs["late"]) == ("reached", None, None, False)
    assert (mine["late_hours"], mine["late"], away["late"]) == (9.0, False, False)
    clock.seconds += 6.1 * 3600
    assert {view["dataset"]: view["late"] for view in fed.get("/v1/datasets").json()}["mine"]
    states = fed.get("/v1/catalogue").json()
    assert {"dataset": "mine", "init_time": "2026-03-01T12:00"} in states
    assert not [state for state in states if state["dataset"] == "away"]
    text = fed.get("/metrics").text
    assert 'warmcast_dataset_reached{dataset="away"}' in text


class _Silent:
    """A data set whose origin answers nothing until it is released."""

    name, step_hours, description = "silent", 6, Description("Silent", "", "")

    def __init__(self) -> None:
        self.released = threading.Event()

    def list_times(self, start: np.datetime64, stop: np.datetime64) -> list[np.datetime64]:
        return []

    def find_newest(self, now: np.datetime64) -> np.datetime64 | None:
        assert self.released.wait(30)
        return now

    def fetch(self, times: Sequence[np.datetime64]) -> list[Path]:
        return []


def test_a_silent_origin_does_not_hold_up_the_list(api: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "WAIT_SECONDS", 0.05)
    silent, service = _Silent(), api.app.state.service
    api.app.state.service = dataclasses.replace(service, datasets=Datasets({"silent": silent}))
    try:
        (view,) = api.get("/v1/datasets").json()
        assert (view["status"], view["init_time"]) == ("unknown", None)
    finally:
        silent.released.set()
    wait_until(lambda: api.get("/v1/datasets").json()[0]["status"] == "reached")
