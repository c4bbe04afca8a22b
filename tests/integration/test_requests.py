import json
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
import zarr

from models.testing import tiny_spec
from tests.served import Served, small_request
from weather.testing import travelling_waves

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def served(own_served: Served) -> Served:
    return own_served


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"members": 0}, "/members"),
        ({"members": 1001}, "`members` must be at most 1000 members. Got: 1001."),
        ({"lead_time": "7h"}, "`lead_time` must be a positive multiple of 6h. Got: '7h'."),
        ({"lead_time": "366h"}, "`lead_time` must be at most 360h. Got: '366h'."),
        ({"model": "../planet"}, "/model"),
        ({"model": "nobody"}, "No checkpoint is named `nobody`"),
        (
            {"initial_state": {"source": "catalogue", "dataset": "era5"}},
            "`dataset` must be one of the catalogue: gfs, nature-run. Got: 'era5'.",
        ),
        ({"initial_state": {"source": "wind"}}, "/initial_state"),
        ({"sampler": {"solver": "midpoint", "nfe": 3}}, "nfe"),
        ({"priority": "urgent"}, "priority"),
        ({"seed": -1}, "/seed"),
        ({"lead": "24h"}, "/lead"),
    ],
)
def test_an_invalid_request_is_a_problem_naming_the_field(served: Served, fields: dict[str, Any], named: str) -> None:
    before = served.client.get("/forecast?limit=200").json()
    response = served.client.post("/forecast", json=small_request(**fields))
    assert response.status_code in (404, 422)
    assert response.headers["content-type"] == "application/problem+json"
    assert named in response.text
    assert served.client.get("/forecast?limit=200").json() == before


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
    assert forecast["init_time"] == "2018-09-15T00:00:00"
    assert forecast["request"]["initial_state"] == {"source": "forecast", "id": forecast["id"]}
    ensemble = xr.open_zarr(f"{served.url}/forecast/{forecast['id']}/ensemble.zarr")
    assert served.wait(forecast["id"])["status"] == "successful"
    assert np.isfinite(ensemble.u10.values).all()
    receipt = served.client.get(f"/forecast/{forecast['id']}/receipt").json()
    assert receipt["request"]["sources"] == [path.name for path in files[form]()]
    assert "initial_state" not in receipt["request"]


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
    assert served.temporary_files() == []


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
