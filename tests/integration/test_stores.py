import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from jobs.rows.states import Status
from tests.served import Served, small_request


def test_an_ensemble_opens_at_once_and_only_ever_gains_complete_lead_times(served: Served) -> None:
    response = served.client.post("/forecast", json=small_request(members=12, lead_time="120h", sampler={"nfe": 20}))
    assert response.status_code == 202
    forecast = response.json()
    assert response.headers["Location"] == forecast["links"][0]["href"]
    data = next(link["href"] for link in forecast["links"] if link["rel"] == "data")
    ensemble = xr.open_zarr(data)
    polls, counts, sizes = 0, [0], dict(ensemble.sizes)
    assert (sizes["lead_time"], sizes["number"]) == (20, 12)
    over, deadline = False, time.monotonic() + 120
    while not over:
        assert time.monotonic() < deadline
        over = served.status(forecast["id"])["status"] == Status.SUCCESSFUL
        polls += 1
        if polls % 10 == 0:
            ensemble = xr.open_zarr(data)
            assert dict(ensemble.sizes) == sizes
        complete = ensemble.complete.values
        values = ensemble.u10.isel(latitude=3, longitude=3).values[0]
        assert np.isfinite(values[complete == 1]).all()
        counts.append(int((complete == 1).all(axis=1).sum()))
        assert counts[-1] >= counts[-2]
    assert {*counts} - {0, 20}  # it was read while it grew
    whole = xr.open_zarr(data).load()
    assert (whole.complete == 1).all()
    assert np.isfinite(whole.u10).all()
    assert np.isfinite(whole.v10).all()


def test_the_zip_equals_the_ensemble_and_supports_ranges(served: Served, tmp_path: Path) -> None:
    forecast = served.submit()
    early = served.client.get(f"/forecast/{forecast['id']}/ensemble.zarr.zip")
    assert early.status_code in (200, 409)
    served.wait(forecast["id"])
    url = f"/forecast/{forecast['id']}/ensemble.zarr.zip"
    whole = served.client.get(url)
    assert whole.headers["content-type"] == "application/zip"
    part = served.client.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    (tmp_path / "e.zip").write_bytes(whole.content)
    with zarr.storage.ZipStore(tmp_path / "e.zip", mode="r") as store:
        zipped = xr.open_zarr(store).load()
    xr.testing.assert_identical(zipped, xr.open_zarr(f"{served.url}/forecast/{forecast['id']}/ensemble.zarr").load())


def test_the_summary_opens_at_once_and_holds_the_requested_statistics(served: Served) -> None:
    event = {"variable": "u10", "op": "<", "value": 0}
    forecast = served.submit(summary={"quantiles": [0.5], "exceedance": [event]})
    home = next(link["href"] for link in forecast["links"] if link["rel"] == "summary")
    summary = xr.open_zarr(home)
    assert dict(summary.sizes) | {"lead_time": 4, "quantile": 1, "u10_below_threshold": 1} == dict(summary.sizes)
    assert forecast["request"]["summary"]["exceedance"] == [event]
    served.wait(forecast["id"])
    members = xr.open_zarr(f"{served.url}/forecast/{forecast['id']}/ensemble.zarr").load()
    assert (summary.complete == 1).all()
    below = (members.u10.sel(longitude=summary.longitude.values % 360) < 0).mean("number")
    np.testing.assert_allclose(summary.u10_below.isel(u10_below_threshold=0), below, rtol=1e-6)
    missing = served.client.get(f"/forecast/{forecast['id']}/summary.zarr/receipt.json")
    assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, "*")


def test_a_summary_of_an_unknown_variable_or_value_is_refused(served: Served) -> None:
    for event in ({"variable": "msl", "value": 1}, {"variable": "u10", "value": 1e9}):
        answer = served.client.post("/forecast", json=small_request(summary={"exceedance": [event]}))
        assert answer.status_code == 422, answer.text


def test_a_replay_recomputes_members_that_were_not_stored_exactly(served: Served) -> None:
    exact, lean = served.submit(members=5), served.submit(members=5, output={"members": False})
    served.wait(exact["id"])
    assert served.wait(lean["id"])["status"] == Status.SUCCESSFUL
    rels = {link["rel"]: link["href"] for link in served.status(lean["id"])["links"]}
    assert rels["data"] == rels["summary"]
    assert "enclosure" not in rels
    for path in ("/ensemble.zarr/zarr.json", "/ensemble.zarr.zip", "/plots/maps.png"):
        assert served.client.get(f"/forecast/{lean['id']}{path}").status_code == 404
    home = f"{served.url}/forecast"
    summaries = [xr.open_zarr(f"{home}/{one['id']}/summary.zarr").load().drop_attrs() for one in (exact, lean)]
    xr.testing.assert_identical(*summaries)
    key = {"Idempotency-Key": "again"}
    replayed = served.client.post(f"/forecast/{lean['id']}/replay", json={"members": [4, 1]}, headers=key)
    assert replayed.status_code == 202, replayed.text
    again = replayed.json()
    assert (
        served.client.post(f"/forecast/{lean['id']}/replay", json={"members": [4, 1]}, headers=key).status_code == 200
    )
    assert served.wait(again["id"])["status"] == Status.SUCCESSFUL
    members, some = (xr.open_zarr(f"{home}/{one['id']}/ensemble.zarr").load() for one in (exact, again))
    xr.testing.assert_equal(members.sel(number=[1, 4]), some)
    for wrong in ([5], [-1], []):
        refused = served.client.post(f"/forecast/{lean['id']}/replay", json={"members": wrong})
        assert refused.status_code == 422, refused.text


def test_members_are_rounded_to_the_requested_bits(served: Served) -> None:
    exact, rounded = served.submit(), served.submit(output={"keep_bits": 7})
    stores = []
    for forecast in (exact, rounded):
        served.wait(forecast["id"])
        stores.append(xr.open_zarr(f"{served.url}/forecast/{forecast['id']}/ensemble.zarr").load())
    np.testing.assert_allclose(stores[1].u10, stores[0].u10, rtol=2.0**-8, atol=0)
    assert not (stores[1].u10 == stores[0].u10).all()
    both = served.client.post("/forecast", json=small_request(output={"members": False, "keep_bits": 7}))
    assert (both.status_code, "`keep_bits` must be null" in both.text) == (422, True)


def test_files_of_the_store_have_the_headers_that_browsers_and_caches_need(served: Served) -> None:
    forecast = served.submit()
    served.wait(forecast["id"])
    home = f"/forecast/{forecast['id']}/ensemble.zarr"
    for method in ("GET", "HEAD"):
        metadata = served.client.request(method, f"{home}/zarr.json")
        assert (metadata.status_code, metadata.headers["access-control-allow-origin"]) == (200, "*")
        chunk = served.client.request(method, f"{home}/u10/c.0.0.0.0.0", headers={"Range": "bytes=-4"})
        assert (chunk.status_code, chunk.headers["content-length"]) == (206, "4")
        assert "immutable" in chunk.headers["cache-control"]
        missing = served.client.request(method, f"{home}/u10/c.0.99.0.0.0")
        assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")
        assert missing.headers["access-control-allow-origin"] == "*"
    assert served.client.options(f"{home}/zarr.json").status_code == 204


@pytest.mark.parametrize(
    "key", ["../receipt.json", "%2e%2e/receipt.json", "u10/../../receipt.json", ".lock", "u10", "/etc/passwd"]
)
def test_paths_outside_the_store_are_not_served(served: Served, key: str) -> None:
    forecast = served.submit()
    served.wait(forecast["id"])
    address = f"{served.url}/forecast/{forecast['id']}/ensemble.zarr/{key}"
    curl = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", address],
        capture_output=True,
        text=True,
        check=True,
    )
    assert curl.stdout == "404"
