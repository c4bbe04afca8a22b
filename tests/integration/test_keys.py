import json
import subprocess
from collections.abc import Callable

import httpx
import pytest

from tests.served import WARMCAST, Served
from warmcast.client import Client
from warmcast.errors import ServiceProblemError

Serve = Callable[..., Served]


EVERY_ROUTE = (
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/events"),
    ("GET", "/deliveries"),
    ("HEAD", "/deliveries"),
    ("GET", "/log"),
    ("HEAD", "/log"),
    ("GET", "/receipt"),
    ("GET", "/ensemble.zarr/zarr.json"),
    ("HEAD", "/ensemble.zarr/zarr.json"),
    ("GET", "/summary.zarr/zarr.json"),
    ("HEAD", "/summary.zarr/zarr.json"),
    ("GET", "/ensemble.zarr.zip"),
    ("GET", "/diagnostics"),
    ("POST", "/verify"),
    ("POST", "/replay"),
    ("GET", "/plots/maps.png"),
    ("GET", "/plots/plume.png"),
    *(
        (method, f"/as-of/1/{store}.zarr{end}")
        for method in ("GET", "HEAD")
        for store in ("ensemble", "summary")
        for end in ("/zarr.json", ".zip")
    ),
    ("GET", "/position?coords=POINT(0%200)"),
    ("HEAD", "/position?coords=POINT(0%200)"),
    *((method, "/area?coords=POLYGON((0%200,30%200,30%2030,0%200))") for method in ("GET", "HEAD")),
    *((method, "/cube?bbox=0,0,30,30") for method in ("GET", "HEAD")),
    ("GET", "/initial_state.zarr/zarr.json"),
    ("HEAD", "/initial_state.zarr/zarr.json"),
    *(("GET", f"/{name}") for name in ("ensemble.nc", "ensemble.grib2", "summary.nc", "summary.grib2")),
    *(("HEAD", f"/{name}") for name in ("ensemble.nc", "ensemble.grib2", "summary.nc", "summary.grib2")),
)

EVERY_ROUTE_OF_INSTANCES = (
    ("GET", ""),
    ("HEAD", ""),
    *((method, "/position?coords=POINT(0%200)") for method in ("GET", "HEAD")),
    *((method, "/area?coords=POLYGON((0%200,30%200,30%2030,0%200))") for method in ("GET", "HEAD")),
    *((method, "/cube?bbox=0,0,30,30") for method in ("GET", "HEAD")),
)

EVERY_ROUTE_OF_BATCHES = (
    ("GET", ""),
    ("HEAD", ""),
    ("DELETE", ""),
    ("POST", "/restart"),
    ("GET", "/events"),
    ("HEAD", "/events"),
    ("POST", "/verify"),
    ("GET", "/verifications"),
    ("HEAD", "/verifications"),
    *((method, f"/{name}.zarr/zarr.json") for method in ("GET", "HEAD") for name in ("ensemble", "summary")),
)

EVERY_ROUTE_OF_JOBS = (
    ("GET", ""),
    ("HEAD", ""),
    ("GET", "/results"),
    ("GET", "/results/a.nc"),
    ("HEAD", "/results/a.nc"),
    ("GET", "/receipt"),
    ("DELETE", ""),
)


def _key(served: Served, *arguments: str) -> str:
    command = [*WARMCAST, "key", *arguments, "--data", str(served.data)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _client(served: Served, key: str) -> Client:
    return Client(served.url, key=key)


def _submit_batch(served: Served, forecast_id: str, secret: str) -> str:
    body = {"model": "untrained", "members": 1, "lead_time": "6h", "sampler": {"nfe": 2}}
    states = [{"source": "forecast", "id": forecast_id}]
    headers = {"PRIVATE-TOKEN": secret, "Idempotency-Key": "batch"}
    response = served.client.post("/batch", json=body | {"initial_states": states}, headers=headers)
    assert response.is_success, response.text
    return str(response.json()["id"])


def test_a_key_cannot_access_forecasts_of_another_key(serve: Serve) -> None:
    served = serve()
    open_to_all = served.submit(lead_time="6h")
    made = [json.loads(_key(served, "create", name, "--json")) for name in ("one", "two")]
    assert served.client.get("/forecast").status_code == 401
    one, two = (_client(served, key["secret"]) for key in made)
    with one, two:
        forecast = one.submit("nature-run", model="untrained", members=2, lead_time="12h", sampler={"nfe": 2})
        forecast.wait(60)
        assert forecast.to_xarray().sizes["number"] == 2
        headers = {"PRIVATE-TOKEN": made[1]["secret"]}
        for method, path in EVERY_ROUTE_OF_BATCHES:
            address = f"/batch/{_submit_batch(served, forecast.id, made[0]['secret'])}{path}"
            assert served.client.request(method, address, headers=headers).status_code == 404, (method, address)
        for forecast_id in (forecast.id, open_to_all["id"]):
            routes = [(method, f"/forecast/{forecast_id}{path}") for method, path in EVERY_ROUTE]
            routes += [(method, f"/api/retrieve/v1/jobs/{forecast_id}{path}") for method, path in EVERY_ROUTE_OF_JOBS]
            instance = f"/api/edr/collections/untrained/instances/{forecast_id}"
            routes += [(method, f"{instance}{path}") for method, path in EVERY_ROUTE_OF_INSTANCES]
            for method, address in routes:
                answer = served.client.request(method, address, headers=headers)
                assert answer.status_code == 404, (method, address)
            body, address = {"job_ids": [forecast_id]}, "/api/retrieve/v1/jobs/delete"
            assert served.client.post(address, json=body, headers=headers).status_code == 404
            assert served.client.get("/api/retrieve/v1/jobs", headers=headers).json()["jobs"] == []
        assert (len(one.list()), len(two.list())) == (1, 0)


def test_a_revoked_or_unknown_key_is_refused(serve: Serve) -> None:
    served = serve(command="api")
    key = json.loads(_key(served, "create", "desk", "--json"))
    with _client(served, key["secret"]) as client:
        assert client.list() == []
        _key(served, "revoke", key["id"])
        with pytest.raises(ServiceProblemError, match="revoked"):
            client.list()
    refused = served.client.get("/models", headers={"Authorization": "Bearer wc_guess"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    listed = _key(served, "list")
    assert key["id"] in listed
    assert "revoked" in listed
    assert key["secret"] not in listed


def test_beyond_loopback_every_request_needs_a_key(serve: Serve) -> None:
    served = serve("--host", "0.0.0.0", command="api")
    refused = served.client.get("/forecast")
    assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthorized")
    assert "warmcast key create" in refused.json()["detail"]
    assert served.client.get("/metrics").status_code == 401
    assert served.client.get("/healthz", headers={"Host": "warmcast.example"}).status_code == 200
    secret = _key(served, "create", "desk").strip()
    headers = {"Authorization": f"Bearer {secret}", "Host": "warmcast.example"}
    assert served.client.get("/forecast", headers=headers).json()["forecasts"] == []
    assert served.client.get("/metrics", headers=headers).status_code == 404


@pytest.mark.campaign
def test_links_begin_with_the_public_url(serve: Serve) -> None:
    served = serve(command="api", public_url="https://warmcast.example/weather")
    secret = _key(served, "create", "desk").strip()
    headers = {"Authorization": f"Bearer {secret}", "Host": "warmcast.example"}
    listed = served.client.get("/forecast", headers=headers)
    assert listed.json()["links"][0]["href"] == "https://warmcast.example/weather/v1/forecast"
    with httpx.Client(base_url=served.url) as client:
        assert client.get("/forecast", headers=headers | {"Host": "other.example"}).status_code == 421
