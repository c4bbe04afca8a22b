import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
import zarr

from jobs.states import Status
from models.testing import tiny_spec
from tests.served import Served, small_request
from weather.testing import travelling_waves

Serve = Callable[..., Served]


def test_an_ensemble_opens_at_once_and_only_ever_gains_complete_lead_times(served: Served) -> None:
    response = served.client.post("/forecast", json=small_request(members=12, lead_time="24h", sampler={"nfe": 500}))
    assert response.status_code == 202
    forecast = response.json()
    assert response.headers["Location"] == forecast["links"][0]["href"]
    data = next(link["href"] for link in forecast["links"] if link["rel"] == "data")
    ensemble = xr.open_zarr(data)
    polls, before, sizes = 0, 0, dict(ensemble.sizes)
    assert (sizes["lead_time"], sizes["number"]) == (4, 12)
    while True:
        over = served.status(forecast["id"])["status"] == Status.SUCCESSFUL
        polls += 1
        if polls % 10 == 0:
            ensemble = xr.open_zarr(data)
            assert dict(ensemble.sizes) == sizes
        complete = ensemble.complete.values
        values = ensemble.u10.isel(latitude=3, longitude=3).values[0]
        assert np.isfinite(values[complete == 1]).all()
        done = int((complete == 1).all(axis=1).sum())
        assert done >= before
        before = done
        if over:
            break
    assert polls >= 100
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
    assert (both.status_code, "rounds members" in both.text) == (422, True)


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
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert curl.stdout == "404"


def test_each_event_is_sent_once_and_a_reconnected_client_gets_the_rest(served: Served) -> None:
    forecast = served.submit()
    with served.client.stream("GET", f"/forecast/{forecast['id']}/events") as stream:
        lines = list(stream.iter_lines())
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events == ["accepted", "running", *["lead_time"] * 4, "successful"]
    ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    again = served.client.get(f"/forecast/{forecast['id']}/events", headers={"Last-Event-ID": ids[-3]})
    assert [line for line in again.text.splitlines() if line.startswith("id: ")] == [f"id: {id_}" for id_ in ids[-2:]]


def test_an_unchanged_status_is_not_sent_again(served: Served) -> None:
    forecast = served.submit()
    served.wait(forecast["id"])
    address = f"/forecast/{forecast['id']}"
    first = served.client.get(address)
    assert "retry-after" not in first.headers
    again = served.client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_concurrent_requests_with_one_idempotency_key_make_one_forecast(served: Served) -> None:
    answers: list[httpx.Response] = []

    def post() -> None:
        with httpx.Client(timeout=60) as client:
            body = small_request(members=1, seed=None)
            answers.append(client.post(f"{served.url}/forecast", json=body, headers={"Idempotency-Key": "one"}))

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    other = served.client.post("/forecast", json=small_request(members=2), headers={"Idempotency-Key": "one"})
    assert other.status_code == 422
    assert other.json()["type"] == "/problems/idempotency-key-reuse"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"members": 0}, "/members"),
        ({"members": 1001}, "`members` must be at most 1000. Got: 1001."),
        ({"lead_time": "7h"}, "`lead_time` must be a positive multiple of 6h. Got: '7h'."),
        ({"lead_time": "366h"}, "`lead_time` must be at most 360. Got: 366."),
        ({"model": "../demo"}, "/model"),
        ({"model": "nobody"}, "No checkpoint `nobody`"),
        (
            {"initial_state": {"source": "catalogue", "dataset": "era5"}},
            "must be one of the catalogue: gfs 2018-09-15T00",
        ),
        ({"initial_state": {"source": "wind"}}, "/initial_state"),
        ({"sampler": {"solver": "midpoint", "nfe": 3}}, "nfe"),
        ({"priority": "urgent"}, "priority"),
        ({"seed": -1}, "/seed"),
        ({"lead": "24h"}, "/lead"),
    ],
)
def test_an_invalid_request_is_a_problem_naming_the_field(
    served: Served, fields: dict[str, Any], named: str
) -> None:
    before = served.client.get("/forecast?limit=200").json()
    response = served.client.post("/forecast", json=small_request(**fields))
    assert response.status_code in (404, 422)
    assert response.headers["content-type"] == "application/problem+json"
    assert named in response.text
    assert served.client.get("/forecast?limit=200").json() == before


def test_a_priority_is_part_of_the_forecast_but_not_of_its_request(served: Served) -> None:
    headers = {"Idempotency-Key": "priority"}
    answers = [
        served.client.post("/forecast", json=small_request(**fields), headers=headers)
        for fields in ({"priority": "low"}, {}, {"priority": "high"})
    ]
    assert [answer.status_code for answer in answers] == [202, 200, 200]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert {answer.json()["priority"] for answer in answers} == {"low"}
    assert "priority" not in answers[0].json()["request"]
    assert served.submit()["priority"] == "normal"


def test_an_estimate_creates_no_forecast(served: Served) -> None:
    for forecast in served.client.get("/forecast?limit=200").json()["forecasts"]:
        served.wait(forecast["id"])
    before = served.client.get("/forecast?limit=200").json()
    response = served.client.post("/forecast?validate_only=true", json=small_request(seed=None))
    assert response.status_code == 200
    estimate = response.json()
    assert estimate["network_evaluations"] == 3 * 4 * 3
    assert estimate["request"]["seed"] >= 0
    assert served.client.get("/forecast?limit=200").json() == before


def test_forecasts_are_listed_newest_first_and_in_pages(serve: Serve) -> None:
    served = serve()
    ids = [served.submit(members=1)["id"] for _ in range(5)]
    for forecast_id in ids:
        served.wait(forecast_id)
    first = served.client.get("/forecast", params={"limit": 3}).json()
    more = served.client.get(next(link["href"] for link in first["links"] if link["rel"] == "next")).json()
    assert [forecast["id"] for forecast in first["forecasts"] + more["forecasts"]] == ids[::-1]
    assert served.client.get("/forecast", params={"status": "failed"}).json()["forecasts"] == []


def test_a_restarted_service_finishes_open_forecasts_and_not_cancelled_ones(serve: Serve) -> None:
    served = serve()
    running = served.submit(lead_time="360h", members=16, sampler={"nfe": 20})
    waiting = [served.submit(seed=seed) for seed in range(3)]
    while served.status(running["id"])["progress_detail"]["lead_times"] < 3:
        time.sleep(0.02)
    dismissed = served.client.delete(f"/forecast/{waiting[1]['id']}")
    assert (dismissed.status_code, dismissed.json()["status"]) == (202, "dismissed")
    served.kill()
    served.start()
    for forecast in (running, waiting[0], waiting[2]):
        assert served.wait(forecast["id"], 120)["status"] == "successful"
    cancelled = served.status(waiting[1]["id"])
    assert (cancelled["status"], cancelled["started"]) == ("dismissed", None)
    again = served.client.delete(f"/forecast/{waiting[1]['id']}", params={"keep_data": True})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/forecast-over")


def test_a_second_service_on_the_same_data_refuses_to_start(serve: Serve) -> None:
    served = serve()
    command = [sys.executable, "-c", "from warmcast.cli import main; main()", "serve", "--data", str(served.data)]
    second = subprocess.run([*command, "--port", "1"], capture_output=True, text=True, timeout=60)
    assert second.returncode != 0
    assert "is served by another process" in second.stderr
    assert served.client.get("/healthz").status_code == 200


def test_models_catalogue_and_readiness_are_listed(served: Served) -> None:
    names = [model["id"] for model in served.client.get("/models").json()]
    assert names == ["demo", "untrained"]
    one = served.client.get("/models/untrained").json()
    assert (one["variables"], one["max_members"]) == (["u10", "v10"], 1000)
    assert served.client.get("/models/nobody").status_code == 404
    assert {state["dataset"] for state in served.client.get("/catalogue").json()} == {"gfs", "nature-run"}
    for _ in range(100):
        ready = served.client.get("/readyz")
        if ready.status_code == 200:
            break
        time.sleep(0.2)
    assert ready.json() == {"ready": True, "checks": {"database": True, "data": True, "worker": True}}


def test_pages_of_other_origins_change_nothing(served: Served) -> None:
    foreign = {"Origin": "https://example.org"}
    refused = served.client.post("/forecast", json=small_request(), headers=foreign)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/foreign-origin")
    assert served.client.get("/forecast", headers=foreign).status_code == 200
    rebound = served.client.get("/forecast", headers={"Host": "attacker.example:8000"})
    assert (rebound.status_code, rebound.json()["type"]) == (421, "/problems/foreign-host")
    own = served.client.post("/forecast?validate_only=true", json=small_request(), headers={"Origin": served.url})
    assert own.status_code == 200


def _as_netcdf(path: Path) -> Path:
    times = [np.datetime64("2018-09-14T18", "s"), np.datetime64("2018-09-15T00", "s")]
    travelling_waves(tiny_spec().grid.grid, times).to_netcdf(path / "state.nc")
    return path / "state.nc"


def _as_zarr(path: Path) -> Path:
    with xr.open_dataset(_as_netcdf(path)) as state, zarr.storage.ZipStore(path / "state.zip", mode="w") as store:
        state.drop_encoding().to_zarr(store, consolidated=False)
    return path / "state.zip"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("form", ["GRIB2", "NetCDF", "zipped Zarr"])
def test_uploaded_files_start_an_ensemble(served: Served, form: str, gfs_files: list[Path], tmp_path: Path) -> None:
    files = {
        "GRIB2": lambda: gfs_files,
        "NetCDF": lambda: [_as_netcdf(tmp_path)],
        "zipped Zarr": lambda: [_as_zarr(tmp_path)],
    }
    response = _upload(served, files[form]())
    assert response.status_code == 202, response.text
    forecast = response.json()
    assert forecast["request"]["init_time"] == "2018-09-15T00:00:00"
    assert forecast["request"]["sources"] == [path.name for path in files[form]()]
    ensemble = xr.open_zarr(f"{served.url}/forecast/{forecast['id']}/ensemble.zarr")
    assert served.wait(forecast["id"])["status"] == "successful"
    assert np.isfinite(ensemble.u10.values).all()


def _upload(served: Served, files: list[Path], **fields: Any) -> httpx.Response:
    body = small_request(**({"initial_state": {"source": "upload"}} | fields))
    parts = [("initial_state", (path.name, path.read_bytes())) for path in files]
    response: httpx.Response = served.client.post("/forecast", data={"request": json.dumps(body)}, files=parts)
    return response


def test_an_unusable_file_is_a_problem_and_leaves_no_files(
    served: Served, gfs_files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("Dear sirs")
    (tmp_path / "cut.grib2").write_bytes(gfs_files[0].read_bytes()[:5000])
    before = sorted(path.name for path in served.data.glob("forecasts/*"))
    for files, problem in (
        ([tmp_path / "letter.txt"], "input-unsupported"),
        ([tmp_path / "cut.grib2", gfs_files[1]], "input-corrupt"),
        (gfs_files[:1], "state-incompatible"),
    ):
        response = _upload(served, files)
        assert response.json()["type"] == f"/problems/{problem}", response.text
        assert files[0].name in response.text
        assert str(tmp_path) not in response.text
        assert "warmcast-ingest" not in response.text
    assert sorted(path.name for path in served.data.glob("forecasts/*")) == before
    assert not list(served.temporary.iterdir())


def test_a_request_in_another_form_is_refused_with_the_accepted_forms(served: Served, gfs_files: list[Path]) -> None:
    text = served.client.post("/forecast", content="hello", headers={"Content-Type": "text/plain"})
    assert (text.status_code, text.json()["type"]) == (415, "/problems/unsupported-media-type")
    named = _upload(served, gfs_files, initial_state={"source": "catalogue", "dataset": "gfs"})
    assert (named.status_code, named.json()["type"]) == (422, "/problems/validation")
    empty = served.client.post("/forecast", json=small_request(initial_state={"source": "upload"}))
    assert "no files" in empty.json()["detail"]
    without = served.client.post("/forecast", files=[("initial_state", ("a", b"GRIB"))])
    assert "one field `request`" in without.json()["detail"]


def test_a_body_over_the_limit_is_refused_with_or_without_a_declared_length(serve: Serve) -> None:
    served = serve(max_upload_bytes="1000000")
    head = b"POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for rest, part in (
        (b"Content-Length: 10000000000\r\n\r\n", b" " * 65536),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", int(served.url.rsplit(":", 1)[1])), timeout=10) as caller:
            caller.sendall(head + rest)
            sent = 0
            while not select.select([caller], [], [], 0.01)[0] and sent < 20_000_000:
                sent += caller.send(part)
            answer = caller.recv(2000)
            while b"/problems/" not in answer:
                more = caller.recv(2000)
                assert more, answer
                answer += more
        assert answer.startswith(b"HTTP/1.1 413"), answer
        assert b"/problems/too-large" in answer
        assert sent < 5_000_000
    assert served.client.get("/healthz").status_code == 200
