import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from prometheus_client.parser import text_string_to_metric_families

from diagnostics.evaluation.verification import verify
from diagnostics.scores.moments import spread
from models.testing import tiny_spec
from tests.served import Served, write_truth
from tests.servers import free_port


@pytest.fixture(scope="module")
def forecast(served: Served) -> Any:
    made = served.submit(members=12, lead_time="24h")
    return served.wait(made["id"])


def _samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_diagnostics_equal_those_computed_from_the_ensemble(served: Served, forecast: Any) -> None:
    diagnostics = served.client.get(f"/forecast/{forecast['id']}/diagnostics").json()
    assert list(diagnostics["lead_times"]) == ["6", "12", "18", "24"]
    ensemble = xr.open_zarr(f"{served.url}/forecast/{forecast['id']}/ensemble.zarr").load()
    for index, record in enumerate(diagnostics["lead_times"].values()):
        for name in ("u10", "v10"):
            fields = ensemble[name].values[0, index].astype(np.float64)
            expected = spread(fields, tiny_spec().grid.grid.area_weights)
            assert record["variables"][name]["spread"] == pytest.approx(expected, rel=1e-6)
        assert record["nonfinite_members"] == []


def test_a_verification_equals_that_of_the_command_and_is_exported_as_metrics(
    served: Served, forecast: Any, tmp_path: Path
) -> None:
    truth = write_truth(tmp_path, forecast)
    with truth.open("rb") as file:
        answer = served.client.post(
            f"/forecast/{forecast['id']}/verify", data={"reference": "waves"}, files=[("truth", ("truth.nc", file))]
        )
    assert answer.status_code == 200, answer.text
    store = served.data / "forecasts" / forecast["id"] / "ensemble.zarr"
    expected = verify(store=store, truth=[str(truth)], climatology=None, seed=1, output=None, page=None)
    assert answer.json()["scores"]["scores"] == expected["scores"]
    assert [row["lead_hours"] for row in expected["scores"]["u10"]] == [6, 12, 24]
    verifications = served.client.get(f"/forecast/{forecast['id']}/diagnostics").json()["verifications"]
    assert [entry["reference"] for entry in verifications] == ["waves"]
    samples = _samples(served.client.get("/metrics").text)
    labels = {"model": "untrained", "variable": "u10", "lead_hours": "24", "reference": "waves"}
    crps = samples["warmcast_crps"][tuple(sorted((labels | {"estimator": "fair"}).items()))]
    assert crps == pytest.approx(expected["scores"]["u10"][2]["crps_fair"])
    assert samples["warmcast_jobs_total"][(("model", "untrained"), ("status", "successful"))] >= 1
    assert samples["warmcast_network_evaluations_total"][(("model", "untrained"),)] >= 12 * 4 * 3


@pytest.mark.parametrize(
    ("form", "status", "named"),
    [
        ({"data": {"reference": "waves"}}, 422, "files `truth`"),
        ({"data": {"reference": "The Truth"}, "files": [("truth", ("a.nc", b"CDF\x01"))]}, 422, "`reference`"),
        ({"data": {"reference": "waves"}, "files": [("truth", ("a.nc", b"nothing"))]}, 415, "`a.nc` must be"),
    ],
)
def test_an_unusable_truth_is_refused_with_its_reason(
    served: Served, forecast: Any, form: dict[str, Any], status: int, named: str
) -> None:
    answer = served.client.post(f"/forecast/{forecast['id']}/verify", **form)
    assert answer.status_code == status, answer.text
    assert named in answer.json()["detail"]


def test_a_truth_of_other_times_is_refused(served: Served, forecast: Any, tmp_path: Path) -> None:
    truth = write_truth(tmp_path, forecast, hours=(48, 54))
    files = [("truth", ("truth.nc", truth.read_bytes()))]
    answer = served.client.post(f"/forecast/{forecast['id']}/verify", data={"reference": "waves"}, files=files)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/truth-incompatible")
    assert "must have a time of the forecast" in answer.json()["detail"]


def test_plots_show_complete_lead_times(served: Served, forecast: Any) -> None:
    for name in ("maps.png?lead_time=6h&lead_time=24h", "plume.png?latitude=40&longitude=-20"):
        picture = served.client.get(f"/forecast/{forecast['id']}/plots/{name}")
        assert picture.headers["content-type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")
    beyond = served.client.get(f"/forecast/{forecast['id']}/plots/maps.png?lead_time=30h")
    assert beyond.status_code == 422
    assert "up to 24h" in beyond.json()["detail"]


def test_a_deleted_forecast_loses_its_data_and_keeps_its_record(served: Served) -> None:
    forecast = served.submit(lead_time="6h")
    home = f"/forecast/{forecast['id']}"
    served.wait(forecast["id"])
    refused = served.client.delete(home, params={"keep_data": True})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/forecast-over")
    assert served.client.delete(home).status_code == 204
    assert served.client.delete(home).status_code == 204
    for path in ("/ensemble.zarr/zarr.json", "/ensemble.zarr.zip", "/plots/maps.png"):
        gone = served.client.get(f"{home}{path}")
        assert (gone.status_code, gone.json()["type"]) == (410, "/problems/data-gone")
    assert served.status(forecast["id"])["data"] == "deleted"
    assert served.client.get(f"{home}/receipt").status_code == 200
    assert not (served.data / "forecasts" / forecast["id"]).exists()


def test_metrics_are_served_on_their_own_port_if_one_is_given(serve: Any) -> None:
    port = free_port()
    served = serve("--metrics-port", str(port))
    assert served.client.get("/metrics").status_code == 404
    curl = ["curl", "-s", f"127.0.0.1:{port}/metrics"]
    text = subprocess.run(curl, capture_output=True, text=True, check=True).stdout
    assert _samples(text)["warmcast_database_up"] == {(): 1.0}
