import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from tests.helpers import wait_until
from tests.in_process import InProcess
from tests.rows import commit_lead_times
from weather.stores.ensemble import EnsembleStore


@pytest.fixture
def home(submit_forecast: Callable[..., ForecastRecord], database: Database, tmp_path: Path) -> str:
    """The path of a running forecast with two complete lead times."""
    record, draw = submit_forecast(), np.random.default_rng(1)
    store = EnsembleStore.open(ForecastFolder(tmp_path, record.id).store)
    for group in range(store.layout.num_groups):
        shape = (len(store.layout.group_members(group)), len(store.layout.variables), *store.layout.grid.shape)
        for lead_index in range(2):
            store.commit(group, lead_index, draw.normal(0, 5, shape).astype(np.float32))
    commit_lead_times(database, 2)
    return f"/forecast/{record.id}/plots"


@pytest.mark.parametrize("query", ["", "?units=kn", "?lead_time=6h&lead_time=12h", "?bbox=-15,35,30,60&units=kmh"])
def test_maps_are_drawn_in_the_units_and_of_the_region_of_the_request(api: InProcess, home: str, query: str) -> None:
    default, response = api.get(f"{home}/maps.png"), api.get(f"{home}/maps.png{query}")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert response.content.startswith(b"\x89PNG")
    assert (response.content == default.content) == (query == "")


def test_a_plume_is_drawn_in_the_units_of_the_request(api: InProcess, home: str) -> None:
    default, knots = api.get(f"{home}/plume.png"), api.get(f"{home}/plume.png?units=kn")
    assert (knots.status_code, knots.headers["content-type"]) == (200, "image/png")
    assert knots.content != default.content


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("units=mph", "?units"),
        ("bbox=1,2,3", "?bbox"),
        ("lead_time=18h", "?lead_time"),
        ("lead_time=7h", "?lead_time"),
        ("lead_time=soon", "?lead_time"),
    ],
)
def test_a_wrong_parameter_of_a_plot_is_pointed_at(api: InProcess, home: str, query: str, pointer: str) -> None:
    response = api.get(f"{home}/maps.png?{query}")
    problem = response.json()
    assert (response.status_code, problem["type"]) == (422, "/problems/validation")
    assert {error["pointer"] for error in problem["errors"]} == {pointer}


class _Drawing:
    """Takes the place of the drawing of maps: it waits until it is released, and counts the calls that run at once."""

    def __init__(self) -> None:
        self.is_released, self.calls, self.running, self.most = threading.Event(), 0, 0, 0

    def __call__(self, *_: object) -> bytes:
        self.calls, self.running = self.calls + 1, self.running + 1
        self.most = max(self.most, self.running)
        assert self.is_released.wait(30)
        self.running -= 1
        return b"PNG"


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> _Drawing:
    drawing = _Drawing()
    monkeypatch.setattr("diagnostics.figures.plot.plot_maps", drawing)
    return drawing


def test_one_plot_is_drawn_at_a_time_sixteen_wait_and_more_are_refused_without_delay_of_other_requests(
    api: InProcess, home: str, drawing: _Drawing
) -> None:
    requests = [api.start("GET", f"{home}/maps.png?bbox=0,0,{index + 1},9") for index in range(50)]
    wait_until(lambda: drawing.running)
    wait_until(lambda: sum(request.done() for request in requests) == 33)
    assert api.start("GET", "/healthz").result(10).status_code == 200
    assert api.start("GET", "/v1/forecast").result(10).status_code == 200
    drawing.is_released.set()
    responses = [request.result(30) for request in requests]
    assert Counter(response.status_code for response in responses) == {200: 17, 429: 33}
    refusal = next(response for response in responses if response.status_code == 429)
    assert (refusal.json()["type"], refusal.json()["retryable"]) == ("/problems/too-busy", True)
    waits = {int(response.headers["Retry-After"]) for response in responses if response.status_code == 429}
    assert len(waits) > 1
    assert waits <= set(range(5, 10))
    assert (drawing.calls, drawing.most) == (17, 1)


def test_equal_requests_for_a_plot_are_drawn_once_and_the_plot_is_kept(
    api: InProcess, home: str, drawing: _Drawing
) -> None:
    requests = [api.start("GET", f"{home}/maps.png") for _ in range(50)]
    wait_until(lambda: drawing.running)
    drawing.is_released.set()
    assert [request.result(30).content for request in requests] == [b"PNG"] * 50
    assert api.get(f"{home}/maps.png?units=ms").content == b"PNG"
    assert drawing.calls == 1


def test_a_kept_plot_is_drawn_again_when_the_forecast_changes_and_gone_when_its_data_is(
    api: InProcess, home: str, drawing: _Drawing
) -> None:
    drawing.is_released.set()
    api.get(f"{home}/maps.png")
    forecast = home.removesuffix("/plots")
    api.delete(forecast)
    assert (api.get(f"{home}/maps.png").content, drawing.calls) == (b"PNG", 2)
    api.delete(forecast)
    assert (api.get(f"{home}/maps.png").status_code, drawing.calls) == (410, 2)


def test_a_conditional_request_needs_no_place_for_drawing(api: InProcess, home: str, drawing: _Drawing) -> None:
    requests = [api.start("GET", f"{home}/maps.png?bbox=0,0,{index + 1},9") for index in range(20)]
    wait_until(lambda: sum(request.done() for request in requests) == 3)
    response = api.get(f"{home}/maps.png", headers={"If-None-Match": "*"})
    assert (response.status_code, response.content) == (304, b"")
    drawing.is_released.set()
    assert {request.result(30).status_code for request in requests} == {200, 429}


@pytest.mark.parametrize("plot", ["maps.png", "plume.png"])
def test_a_plot_of_an_ensemble_whose_files_are_missing_is_a_problem(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord], database: Database, plot: str
) -> None:
    record = submit_forecast()
    commit_lead_times(database, 1)
    response = api.get(f"/forecast/{record.id}/plots/{plot}")
    problem = response.json()
    assert (response.status_code, problem["type"], problem["errors"]) == (409, "/problems/store-unusable", [])


@pytest.mark.parametrize("plot", ["maps.png", "plume.png"])
def test_a_forecast_without_a_lead_time_has_no_plot_yet(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord], plot: str
) -> None:
    response = api.get(f"/forecast/{submit_forecast().id}/plots/{plot}")
    assert (response.status_code, response.json()["type"]) == (409, "/problems/not-finished")
