"""Random requests, `--examples` × 5 of each kind: none is an internal error, and all refusals are problems."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from starlette.types import Message

from jobs.forecasts import ForecastRecord
from jobs.settings import Settings
from service.app import create_app
from tests.in_process import InProcess, run_in_process
from tests.served import small_request

_HEADERS = (
    *("Host", "Origin", "Authorization", "PRIVATE-TOKEN", "Content-Type", "Content-Length", "Transfer-Encoding"),
    *("Accept", "Accept-Encoding", "Range", "If-Range", "If-None-Match", "If-Match", "If-Modified-Since"),
    *("Last-Event-ID", "Idempotency-Key", "X-Request-ID", "X-Forwarded-For", "X-Forwarded-Proto", "Connection"),
    *("Access-Control-Request-Method", "Access-Control-Request-Headers", "Cookie", "Expect", "Content-Encoding"),
)
_TEMPLATES = (
    *("/{0}", "/v1/{0}", "/v1/forecast", "/v1/forecast/{0}", "/v1/forecast/{0}/{1}", "/v1/models", "/v1/models/{0}"),
    *("/v1/forecast/fc_1/ensemble.zarr/{0}", "/v1/forecast/{0}/summary.zarr/u10/c/0/{1}", "/v1/forecast/{0}/events"),
    *("/v1/forecast/{0}/log?since={1}", "/v1/forecast/{0}/deliveries"),
    *("/v1/forecast/{0}/plots/maps.png", "/v1/forecast/{0}/plots/plume.png", "/v1/forecast/{0}/ensemble.zarr.zip"),
    *("/v1/forecast/{0}/as-of/{1}/ensemble.zarr/zarr.json", "/v1/forecast/fc_1/as-of/1/ensemble.zarr/{0}"),
    *("/v1/forecast/{0}/as-of/{1}/ensemble.zarr.zip", "/v1/forecast/{0}/as-of/{1}/summary.zarr/{0}"),
    *("/v1/forecast/{0}/position", "/v1/forecast/{0}/position?coords=POINT(1 2)"),
    *("/v1/forecast/{0}/area", "/v1/forecast/{0}/area?coords=POLYGON({1})", "/v1/forecast/{0}/cube?bbox={1}"),
    *(
        "/v1/states",
        "/v1/states/{0}",
        "/v1/states/{0}/state.zarr/{1}",
        "/v1/schedules",
        "/v1/schedules/{0}",
        "/v1/schedules/{0}/runs?before={1}",
        "/v1/schedules/{0}/latest/{1}",
        "/v1/forecast/{0}/initial_state.zarr/zarr.json",
        "/v1/forecast/fc_1/initial_state.zarr/{0}",
    ),
    *("/v1/forecast/{0}/ensemble.nc", "/v1/forecast/{0}/ensemble.grib2?members=0-1", "/v1/forecast/{0}/summary.nc"),
    *("/api/retrieve/v1/jobs", "/api/retrieve/v1/jobs/{0}", "/api/retrieve/v1/jobs/{0}/results/{1}.nc?signature=1"),
    *("/api/retrieve/v1/processes/{0}/execution", "/api/retrieve/v1/jobs/delete", "/api/catalogue/v1/messages"),
    "/api/profiles/v1/account/verification/pat",
    *("/api/edr/collections/{0}", "/api/edr/collections/untrained/instances?before={0}"),
    *("/api/edr/collections/{0}/instances/FORECAST", "/api/edr/collections/untrained/instances/{0}/area?coords={1}"),
    *("/", "/v1/audit", "/v1/usage", "/view/{0}", "/assets/{0}"),
    *("/v1/batch", "/v1/batch/{0}", "/v1/batch/{0}/restart", "/v1/batch/{0}/events", "/v1/batch/{0}/verify"),
    *("/v1/batch/{0}/verifications", "/v1/batch/{0}/ensemble.zarr/{1}", "/v1/batch/{0}/summary.zarr/zarr.json"),
    *("/v1/batch/BATCH", "/v1/batch/BATCH/restart", "/v1/batch/BATCH/events", "/v1/batch/BATCH/verifications"),
    *("/v1/batch/BATCH/ensemble.zarr/{0}", "/v1/batch/BATCH/summary.zarr/u10_mean/c.{0}", "/v1/batch/BATCH/verify"),
    *("/v1/states/STATE", "/v1/states/STATE/state.zarr/{0}", "/v1/forecast/FORECAST", "/v1/forecast/FORECAST/log"),
    *("/v1/forecast/FORECAST/deliveries", "/v1/forecast/FORECAST/events", "/v1/forecast/FORECAST/ensemble.zarr/{0}"),
    *("/v1/forecast/FORECAST/initial_state.zarr/{0}", "/v1/forecast/FORECAST/diagnostics"),
    *(
        "/v1/datasets",
        "/v1/catalogue",
        "/v1/limits",
        "/v1/inspect",
        "/docs/{0}",
        "/openapi.json",
        "/healthz",
        "/metrics",
        "//{0}",
    ),
)
_PARAMETERS = (
    *("limit", "before", "status", "validate_only", "keep_data", "model", "init_time", "bbox", "units", "lead_time"),
    *(
        "latitude",
        "longitude",
        "other",
        "coords",
        "parameter-name",
        "datetime",
        "values",
        "quantiles",
        "exceedance",
        "members",
    ),
    *("interpolation", "f", "reduce"),
    *("days", "owner", "since", "key", "label", "batch", "log", "logStartTime"),
)
_TIMES = (
    *("0000-01-01", "0001-01-01T00+14:00", "9999-12-31T18", "9999-12-31T23:59:59.999999-14:00", "-0001-01-01"),
    *("2016-12-31T23:59:60", "10000-01-01", "2018-09-15T24:00", "2018-W37-6", "NaT", "1e400", "2018-09-15T00\x00"),
)
_ODD_TEXTS = (
    *("", "\0", "a\0b", "..", "../..", "%00", "NaN", "-0", "1e400", "9223372036854775808", "true", "null", "\r\nX: y"),
    *("\u202e", "\ufffd", "١", "[::", "http://[", "bytes=0-", "bytes=9-1,-0", '"', "W/", "*", "a" * 3000, "9" * 5000),
    *_TIMES,
)
_ODD_BYTES = (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"%ff", b"%00", b"\x00", b"\x80" * 50)

texts = st.sampled_from(_ODD_TEXTS) | st.text(max_size=20)
raw = st.one_of(
    st.sampled_from(_ODD_BYTES), st.binary(max_size=30), texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
)
numbers = st.one_of(
    st.sampled_from([-1, 0, 2**31, 2**53, 2**63, 2**64, 10**300, 0.5, -0.0, 1e308]),
    st.integers(),
    st.floats(allow_nan=True),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
sent_headers = st.lists(st.tuples(st.sampled_from(_HEADERS), raw), max_size=4)


@pytest.fixture(scope="module")
def fuzzed(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    data = tmp_path_factory.mktemp("fuzzed")
    configured = Settings.of(data=data, checkpoints=str(untrained_checkpoint.parent), reconcile_seconds=3600)
    with run_in_process(create_app(configured, with_worker=False)) as api:
        yield api


@pytest.fixture(scope="module")
def known(fuzzed: InProcess, submit_small: Callable[..., ForecastRecord]) -> dict[str, str]:
    """The ids of a forecast, a batch and an initial state that exist, by their words in a path."""
    service = fuzzed.app.state.service
    forecast = submit_small(service.database, service.data, checkpoint="untrained").id
    source = {"source": "forecast", "id": forecast}
    body = small_request(initial_states=[source])
    del body["initial_state"]
    batch = fuzzed.post("/v1/batch", json=body).json()["id"]
    return {"FORECAST": forecast, "BATCH": batch, "STATE": fuzzed.post("/v1/states", json=source).json()["id"]}


def _fill(path: str, known: dict[str, str]) -> str:
    for word, name in known.items():
        path = path.replace(word, name)
    return path


def _check(
    api: InProcess, method: str, path: bytes, query: bytes, headers: list[tuple[str, bytes]], body: bytes
) -> None:
    """Send a request as the server hands it to the application, and check its response."""
    sent, received = [*headers], list[Message]()
    if "Host" not in dict(headers):
        sent.append(("Host", b"localhost"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower().encode(), value) for name, value in sent],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "app": api.app,
    }
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        received.append(message)

    api.start_task(api.app, scope, receive, send).result(60)
    status = received[0]["status"]
    assert status < 500, (method, path, query, headers, body, received)
    if status >= 400 and status != 499 and method != "HEAD":
        assert (b"content-type", b"application/problem+json") in received[0]["headers"]
        problem = json.loads(b"".join(message.get("body", b"") for message in received[1:]))
        assert problem["status"] == status
        assert len(problem["errors"]) <= 20


def _fuzz(request: pytest.FixtureRequest) -> settings:
    return settings(
        max_examples=5 * int(request.config.getoption("--examples")),
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def test_paths_queries_and_headers(request: pytest.FixtureRequest, fuzzed: InProcess, known: dict[str, str]) -> None:
    parameters = st.lists(st.tuples(st.sampled_from(_PARAMETERS), raw), max_size=3)

    @seed(1987)
    @_fuzz(request)
    @given(
        st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH", "BREW"]),
        st.sampled_from(_TEMPLATES),
        st.tuples(raw, raw),
        parameters,
        sent_headers,
    )
    def send(method: str, template: str, parts: Any, query: Any, headers: Any) -> None:
        path = _fill(template, known).format(*(quote(part, safe="/.") for part in parts)).encode()
        pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query).encode()
        _check(fuzzed, method, path, pairs, headers, b"")

    send()


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(item, (*place, name))


_FULL = small_request(
    deadline_seconds=60,
    priority="normal",
    summary={"quantiles": [0.1], "exceedance": [{"variable": "u10", "threshold": 1}]},
    output={"members": True, "keep_bits": 8},
    initial_state={"source": "catalogue", "dataset": "gfs", "init_time": "2018-09-15T00"},
    sampler={"nfe": 2, "solver": "euler", "warmth": 0.5},
)


_BATCH = {name: value for name, value in _FULL.items() if name != "initial_state"} | {
    "initial_states": {"dataset": "gfs", "init_times": {"start": "2018-09-15", "end": "2018-09-15", "step": "6h"}}
}
_HANDLING = {"labels": {"a": "1"}, "retention_hours": 1, "callback": {"url": "https://a/", "events": [], "secret": ""}}
_ALERT = {"variable": "u10", "op": ">", "value": 1, "probability": 0.5, "places": [{"longitude": 1, "latitude": 1}]}
_HANDLING |= {"alerts": [_ALERT]}
_INPUTS = {name: value for name, value in _FULL.items() if name != "model"}
_BODIES = (
    ("/v1/forecast?validate_only=true", _FULL | _HANDLING),
    ("/v1/batch?validate_only=true", _BATCH | _HANDLING),
    ("/v1/forecast/FORECAST/replay", {"members": [0], **_HANDLING}),
    ("/v1/states", {"source": "forecast", "id": "fc_1", "member": 0, "lead_time": "6h"}),
    ("/v1/states", {"source": "catalogue", "dataset": "gfs", "init_time": "2018-09-15T00", "model": "untrained"}),
    ("/api/retrieve/v1/processes/untrained/execution", {"inputs": _INPUTS}),
    ("/api/retrieve/v1/jobs/delete", {"job_ids": ["fc_1"]}),
)


def _with(full: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    body = copy.deepcopy(full)
    part = body
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    return body


def test_json_bodies(request: pytest.FixtureRequest, fuzzed: InProcess, known: dict[str, str]) -> None:
    places = [(path, full, place) for path, full in _BODIES for place in _places(full)]

    @seed(1987)
    @_fuzz(request)
    @given(st.sampled_from(places), values, sent_headers)
    def send(where: Any, value: Any, headers: Any) -> None:
        target, full, place = where
        path, _, query = _fill(target, known).partition("?")
        body = json.dumps(_with(full, place, value)).encode()
        sent = [(name, value) for name, value in headers if name not in ("Content-Type", "Content-Length")]
        content_type = ("Content-Type", b"application/json")
        _check(fuzzed, "POST", path.encode(), query.encode(), [content_type, *sent], body)

    send()


# the parser drops the file of a part that does not end, which is then removed when it is collected
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
def test_multipart_bodies(request: pytest.FixtureRequest, fuzzed: InProcess) -> None:
    names = st.sampled_from(["request", "reference", "truth", "other"]) | texts
    part = st.tuples(names, st.none() | texts, raw)

    @seed(1987)
    @_fuzz(request)
    @given(
        st.sampled_from(["/v1/forecast", "/v1/inspect", "/v1/forecast/fc_1/verify", "/v1/states", "/v1/batch"]),
        st.sampled_from([b"b", b'"b"', b"c", b"", b"\xff", b"b" * 300]),
        st.lists(part, max_size=4),
        raw,
    )
    def send(path: str, boundary: bytes, parts: Any, end: bytes) -> None:
        body = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="'
            + name.encode("utf-8", "surrogatepass")
            + (b'"; filename="' + file.encode("utf-8", "surrogatepass") if file is not None else b"")
            + b'"\r\n\r\n'
            + content
            + b"\r\n"
            for name, file, content in parts
        )
        headers = [("Content-Type", b"multipart/form-data; boundary=" + boundary)]
        _check(fuzzed, "POST", path.encode(), b"", headers, body + b"--b" + end)

    send()
