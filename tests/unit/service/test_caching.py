import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from obstore.store import MemoryStore

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.keys import LOCAL_OWNER
from jobs.retention import delete_data
from jobs.rows.database import Database
from storage.bucket import BucketPath
from storage.paths import StoragePath, storage_path
from tests.in_process import InProcess
from tests.rows import create_key, succeed
from tests.stored_files import chunk_file, list_receipt, write_lead_times
from weather.stores.ensemble import EnsembleStore

Submit = Callable[..., ForecastRecord]

_CHUNK = "/ensemble.zarr/u10/c.0.0.0.0.0"
_FILES = ("/ensemble.zarr/zarr.json", "/ensemble.zarr/u10/zarr.json", _CHUNK, "/summary.zarr/zarr.json")
_ZIP, _PLOTS = (
    "/ensemble.zarr.zip",
    ("/plots/maps.png?lead_time=6h", "/plots/plume.png", "/position?coords=POINT(0 0)", "/cube?bbox=0,0,30,30"),
)
_DOCUMENTS = ("", "/receipt", "/diagnostics")
_FROZEN = ("/as-of/2/summary.zarr/zarr.json", "/as-of/1/ensemble.zarr.zip")
_EXPORTS = ("/initial_state.zarr/zarr.json", "/ensemble.nc", "/ensemble.grib2?members=0")
_TAGGED = (*_FILES, _ZIP, *_PLOTS, *_FROZEN, *_EXPORTS, *_DOCUMENTS)


@pytest.fixture(params=["disk", "bucket"])
def data(
    request: pytest.FixtureRequest, api: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoragePath:
    """The storage of the service: on a disk, then in a bucket of this process."""
    if request.param == "disk":
        return storage_path(tmp_path)
    bucket = BucketPath(MemoryStore(), "memory:", "data")
    api.app.state.service = replace(api.app.state.service, data=bucket)
    monkeypatch.setattr("service.child_calls.open_storage", lambda *_: bucket)
    return bucket


def _complete(submit: Submit, database: Database, data: StoragePath, owner: str = LOCAL_OWNER) -> ForecastRecord:
    """Return a successful forecast of one owner, with random fields in its store."""
    record = submit(database, data, owner=owner)
    store = EnsembleStore.open(ForecastFolder(data, record.id).store)
    write_lead_times(store, range(store.layout.num_lead_times))
    return succeed(database, record, {"nonfinite_members": [], **list_receipt(data, record)})


@pytest.fixture
def home(submit_small: Submit, database: Database, data: StoragePath) -> str:
    """The path of a successful forecast that was submitted without a key."""
    return f"/v1/forecast/{_complete(submit_small, database, data).id}"


@pytest.fixture
def keyed(submit_small: Submit, database: Database, data: StoragePath) -> tuple[str, dict[str, str]]:
    """The path of a successful forecast that was submitted with a key, and the headers of a request with it."""
    key, secret = create_key(database, "desk")
    record = _complete(submit_small, database, data, key.id)
    return f"/v1/forecast/{record.id}", {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("path", [_CHUNK, _ZIP])
def test_any_cache_may_keep_final_data_for_ever_while_no_key_exists(api: InProcess, home: str, path: str) -> None:
    assert api.get(home + path).headers["cache-control"] == "public, max-age=31536000, immutable"


def test_only_the_cache_of_the_caller_may_keep_data_of_a_key(api: InProcess, keyed: tuple[str, dict[str, str]]) -> None:
    home, key = keyed
    for path in _TAGGED:
        response = api.get(home + path, headers=key)
        rules = response.headers["cache-control"].split(", ")
        assert (response.status_code, rules[0], "public" in rules) == (200, "private", False), path
        assert rules[1:] == (
            ["max-age=31536000", "immutable"] if path in (_CHUNK, _ZIP, *_FROZEN, *_EXPORTS) else ["no-cache"]
        ), path
        assert {name.strip() for name in response.headers["vary"].split(",")} == {"Authorization", "PRIVATE-TOKEN"}
        refused = api.get(home + path)
        assert (refused.status_code, refused.headers["cache-control"]) == (401, "no-store")
        assert "Authorization" in refused.headers["vary"]
    assert api.get("/v1/forecast", headers=key).headers["cache-control"] == "private, no-cache"
    assert api.get(f"{home}/events", headers=key).headers["cache-control"] == "private, no-cache"


def test_data_of_an_open_forecast_is_validated_at_each_use(
    api: InProcess, submit_small: Submit, database: Database, data: StoragePath
) -> None:
    record = submit_small(database, data)
    (ForecastFolder(data, record.id).store / "u10/c.0.0.0.0.0").write(chunk_file(b"chunk"))
    for path in _FILES:
        assert api.get(f"/forecast/{record.id}{path}").headers["cache-control"] == "public, no-cache"


def test_a_version_that_the_client_has_is_not_sent_again(api: InProcess, home: str) -> None:
    for path in _TAGGED:
        first = api.get(home + path)
        etag = first.headers["etag"]
        strong = etag.removeprefix("W/")
        for condition in (etag, strong, f"W/{strong}", f'"other", W/"more" ,{etag}', "*"):
            for method in ("GET", "HEAD"):
                again = api.request(method, home + path, headers={"If-None-Match": condition, "Range": "bytes=0-1"})
                assert (again.status_code, again.content) == (304, b""), (path, condition)
                for name in ("etag", "cache-control", "vary", "access-control-allow-origin"):
                    assert again.headers.get(name) == first.headers.get(name), (path, name)
                assert not {"content-type", "content-length"} & again.headers.keys(), path
        for condition in ('"other"', strong[1:-1], f'{strong[:-1]}x"', ""):
            response = api.get(home + path, headers={"If-None-Match": condition})
            assert response.status_code == 200, (path, condition)


def test_the_version_of_a_status_changes_with_each_lead_time(api: InProcess, home: str) -> None:
    assert api.get(home).headers["etag"].startswith('W/"successful-4-available-')


def test_a_file_that_changed_has_another_version(
    api: InProcess, submit_small: Submit, database: Database, data: StoragePath
) -> None:
    forecast_id = submit_small(database, data).id
    address = f"/v1/forecast/{forecast_id}/ensemble.zarr/zarr.json"
    first = api.get(address)
    (data / f"forecasts/{forecast_id}/ensemble.zarr/zarr.json").write(first.content + b" ")
    again = api.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (200, first.content + b" ")


def test_head_has_the_headers_of_get_and_no_body(api: InProcess, home: str) -> None:
    for path in (*_TAGGED, "/events"):
        get, head = api.get(home + path), api.head(home + path)
        assert (head.status_code, head.content) == (200, b""), path
        own = {"x-request-id": ""}
        assert {**head.headers, **own} == {**get.headers, **own}, path
        assert get.content, path


def test_every_get_route_answers_head(api: InProcess) -> None:
    paths = [path for path, methods in api.app.openapi()["paths"].items() if "get" in methods]
    assert len(paths) > 10
    for path in paths:
        ids = {"forecast_id": "fc_none", "batch_id": "ba_none", "state_id": "st_none", "schedule_id": "sc_none"}
        address = path.format(**ids, model="untrained", key="zarr.json", num_lead_times=1, name="a")
        assert api.head(address).status_code == api.get(address).status_code, path
    for path in (
        "/healthz",
        "/metrics",
        "/models",
        "/catalogue",
        "/datasets",
        "/forecast",
        "/models/untrained",
        "/openapi.json",
    ):
        assert (api.head(path).status_code, api.head(path).content) == (200, b""), path


@pytest.fixture
def chunk(api: InProcess, home: str) -> Callable[..., httpx.Response]:
    """Request the chunk with some headers."""

    def request(method: str = "GET", **headers: str) -> httpx.Response:
        return api.request(method, home + _CHUNK, headers={name.replace("_", "-"): headers[name] for name in headers})

    return request


def test_ranges_of_a_file(chunk: Callable[..., httpx.Response]) -> None:
    whole = chunk().content
    size = len(whole)
    for byte_range, status, content, content_range in (
        ("bytes=2-5", 206, whole[2:6], f"bytes 2-5/{size}"),
        ("bytes=7-", 206, whole[7:], f"bytes 7-{size - 1}/{size}"),
        ("bytes=-4", 206, whole[-4:], f"bytes {size - 4}-{size - 1}/{size}"),
        (f"bytes=-{size + 9}", 206, whole, f"bytes 0-{size - 1}/{size}"),
        (f"bytes=0-{10**9}", 206, whole, f"bytes 0-{size - 1}/{size}"),
        (f"bytes={size}-", 416, b"", f"bytes */{size}"),
        ("bytes=-0", 416, b"", f"bytes */{size}"),
        ("bytes=5-2", 416, b"", f"bytes */{size}"),
        ("bytes=0-1,4-5", 200, whole, None),
        ("lines=0-1", 200, whole, None),
    ):
        for method in ("GET", "HEAD"):
            response = chunk(method, Range=byte_range)
            assert (response.status_code, response.headers.get("content-range")) == (status, content_range), byte_range
            assert response.content == (content if method == "GET" else b"")
            assert response.headers["content-length"] == str(len(content))
            assert response.headers["access-control-allow-origin"] == "*"


def test_no_cache_keeps_that_a_range_is_outside_of_the_file(chunk: Callable[..., httpx.Response]) -> None:
    answer = chunk(Range="bytes=99999999-")
    assert (answer.status_code, answer.headers["cache-control"]) == (416, "no-store")


def test_a_range_is_sent_only_of_the_version_that_the_client_has(chunk: Callable[..., httpx.Response]) -> None:
    etag = chunk().headers["etag"]
    for condition, status in (
        (etag, 206),
        ('"other"', 200),
        (f"W/{etag}", 200),
        ("Thu, 26 Nov 2026 04:00:00 GMT", 200),
    ):
        response = chunk(Range="bytes=0-1", If_Range=condition)
        assert (response.status_code, response.headers["etag"]) == (status, etag), condition


def test_problems_of_data_are_not_kept_and_readable_from_pages_of_any_origin(
    api: InProcess, home: str, database: Database, data: StoragePath
) -> None:
    paths = [*_FILES, _ZIP, "/ensemble.zarr/u10/c.0.9.0.0.0"]
    missing = [f"/forecast/fc_none{path}" for path in paths] + [home + paths[-1]]
    delete = [home + path for path in paths]
    for addresses, status in ((missing, 404), (delete, 410)):
        for address in addresses:
            response = api.get(address)
            assert (response.status_code, response.headers["cache-control"]) == (status, "no-store"), address
            assert response.headers["access-control-allow-origin"] == "*", address
        delete_data(database, data, home.rsplit("/", 1)[1], LOCAL_OWNER)


@pytest.mark.parametrize("path", [*_FILES, _ZIP])
def test_pages_of_any_origin_may_read_data_with_a_key_conditionally_and_by_range(api: InProcess, path: str) -> None:
    response = api.request("OPTIONS", f"/v1/forecast/fc_none{path}", headers={"Origin": "https://example.org"})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (204, "*")
    allowed = set(re.split(", ?", response.headers["access-control-allow-headers"]))
    assert allowed >= {"Authorization", "PRIVATE-TOKEN", "Range", "If-Range", "If-None-Match"}


def test_a_file_removed_after_the_forecast_was_found_is_a_410(
    api: InProcess, home: str, database: Database, data: StoragePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = type(data).file_stat

    def delete_and_find(path: StoragePath) -> object:
        delete_data(database, data, home.rsplit("/", 1)[1], LOCAL_OWNER)
        return found(path)

    monkeypatch.setattr(type(data), "file_stat", delete_and_find)
    response = api.get(home + _CHUNK)
    assert (response.status_code, response.json()["type"]) == (410, "/problems/data-gone")


def test_other_responses_are_not_kept(api: InProcess) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert api.get(path).headers["cache-control"] == "no-store"
        assert "vary" not in api.get(path).headers
    assert api.get("/nothing").headers["cache-control"] == "no-store"


def test_every_response_has_the_headers_of_security(api: InProcess, home: str) -> None:
    paths = [home + path for path in (*_FILES, *_DOCUMENTS, "/events")]
    for path in (
        *paths,
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
        "/docs/swagger-ui.css",
        "/openapi.json",
        "/",
        "/view/fc_none",
        "/nothing",
    ):
        for headers in ({}, {"Host": "attacker.example"}, {"If-None-Match": "*"}):
            response = api.get(path, headers=headers)
            assert response.headers["x-content-type-options"] == "nosniff", path
            assert response.headers["referrer-policy"] == "no-referrer"
            assert response.headers.get_list("x-frame-options") == ["DENY"]
            (policy,) = response.headers.get_list("content-security-policy")
            own = path == "/docs" and "Host" not in headers
            assert policy.startswith("default-src 'self'" if own else "default-src 'none'"), path
            assert policy.endswith("; frame-ancestors 'none'")
            assert "server" not in response.headers
