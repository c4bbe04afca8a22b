import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from service.routes import plots
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


def test_requests_that_wait_for_a_plot_delay_no_other_request(
    api: InProcess, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_released, drawing, most = threading.Event(), [], []

    def draw(*_: object) -> bytes:
        drawing.append(1)
        most.append(len(drawing))
        assert is_released.wait(30)
        drawing.pop()
        return b"PNG"

    monkeypatch.setattr(plots, "plot_maps", draw)
    monkeypatch.setattr(plots, "plot_plume", draw)
    requests = [
        api.start("GET", f"{home}/{name}.png") for name in ("maps", "plume") * 25
    ]  # more than there are threads
    wait_until(lambda: drawing)
    assert api.start("GET", "/healthz").result(10).status_code == 200
    is_released.set()
    assert [request.result(30).content for request in requests] == [b"PNG"] * 50
    assert set(most) == {1}


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
