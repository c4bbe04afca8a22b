"""Requests that no client sends in good faith: each is refused as a problem, and the service is as before.

Each case is a row of the table in `docs/security.md`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.abuse import Header, Target, check_health, open_target
from tests.served import Served, small_request

_JSON: Header = ("Content-Type", "application/json")
_SUBMIT = "/v1/forecast?validate_only=true"


@dataclass(frozen=True)
class Case:
    """A request and its answer: the status, 0 for a closed connection, and the type of the problem."""

    status: int | tuple[int, ...]
    problem: str
    method: str = "GET"
    path: str = "/v1/forecast/ID"
    headers: tuple[Header, ...] = ()
    body: bytes | None = None
    key: int | None = 0


def _json(content: Any = None, **fields: Any) -> bytes:
    return json.dumps(small_request(**fields) if content is None else content).encode()


def _submit(body: bytes, problem: str = "validation", status: int = 422, *headers: Header) -> Case:
    return Case(status, problem, "POST", _SUBMIT, headers or (_JSON,), body)


def _batch(*states: dict[str, Any], problem: str = "validation", status: int = 422, **fields: Any) -> Case:
    body = small_request(initial_states=states, **fields)
    del body["initial_state"]
    return Case(status, problem, "POST", "/v1/batch?validate_only=true", (_JSON,), _json(body))


_MISSING = "fc_" + "0" * 24
_CALLBACK = {"url": "https://hooks.example.org/", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
_NO_KEY = Case(401, "unauthorized", key=None)

CASES: dict[str, Case] = {
    # before authentication
    "no-key": _NO_KEY,
    "no-key-unknown-path": Case(401, "unauthorized", path="/no/such/path", key=None),
    "no-key-unknown-method": Case(401, "unauthorized", "BREW", "/v1/forecast", key=None),
    "no-key-unknown-query": Case(401, "unauthorized", path="/v1/forecast?no=such", key=None),
    "no-key-large-body": Case(
        401, "unauthorized", "POST", "/v1/forecast", (_JSON, ("Content-Length", "400000000")), b"{", key=None
    ),
    "no-key-expect": Case(
        401,
        "unauthorized",
        "POST",
        "/v1/forecast",
        (_JSON, ("Expect", "100-continue"), ("Content-Length", "9")),
        key=None,
    ),
    "wrong-key": Case(401, "unauthorized", headers=(("Authorization", "Bearer wc_guess"),), key=None),
    "key-in-query": Case(401, "unauthorized", path="/v1/forecast?PRIVATE-TOKEN=wc_guess", key=None),
    "sql-as-key": Case(401, "unauthorized", headers=(("PRIVATE-TOKEN", "' OR 1=1 --"),), key=None),
    "nul-in-key": Case((400, 401), "", headers=(("PRIVATE-TOKEN", b"\x00"),), key=None),
    # hosts and origins
    "foreign-host": Case(421, "foreign-host", headers=(("Host", "evil.example"),)),
    "host-with-path": Case(421, "foreign-host", headers=(("Host", "localhost/@evil.example"),)),
    "host-with-user": Case(421, "foreign-host", headers=(("Host", "localhost@evil.example"),)),
    "open-bracket-host": Case(421, "foreign-host", headers=(("Host", "[::1"),)),
    "host-of-bytes": Case((400, 421), "", headers=(("Host", b"\xff\xfe"),)),
    "foreign-origin": Case(403, "foreign-origin", "DELETE", headers=(("Origin", "https://evil.example"),)),
    "null-origin": Case(403, "foreign-origin", "DELETE", headers=(("Origin", "null"),)),
    "malformed-origin": Case(403, "foreign-origin", "DELETE", headers=(("Origin", "http://[::"),)),
    "forwarded-host": Case(404, "no-such-forecast", path="/v1/forecast/fc_0", headers=(("X-Forwarded-Host", "evil"),)),
    # paths and queries
    "nul-in-path": Case(400, "malformed", path="/v1/forecast/a%00b"),
    "nul-in-query": Case(400, "malformed", path="/v1/forecast?before=%00"),
    "invalid-utf8-in-path": Case(404, "no-such-forecast", path="/v1/forecast/%ff%fe"),
    "surrogate-in-query": Case((200, 422), "", path="/v1/forecast?before=%ED%A0%80"),
    "line-break-in-path": Case(404, "no-such-forecast", path="/v1/forecast/a%0d%0aSet-Cookie:x"),
    "traversal": Case(404, "", path="/v1/forecast/ID/ensemble.zarr/../../../../warmcast.db"),
    "encoded-traversal": Case(404, "", path="/v1/forecast/ID/ensemble.zarr/%2e%2e%2f%2e%2e%2fwarmcast.db"),
    "double-encoded-traversal": Case(404, "", path="/v1/forecast/ID/ensemble.zarr/%252e%252e%252fwarmcast.db"),
    "absolute-path": Case(404, "", path="/v1/forecast/ID/ensemble.zarr//etc/passwd"),
    "backslash-traversal": Case(404, "", path="/v1/forecast/ID/ensemble.zarr/..%5c..%5cwarmcast.db"),
    "traversal-of-docs": Case(404, "", path="/docs/..%2f..%2f..%2fetc%2fpasswd"),
    "traversal-of-page": Case(404, "", path="/assets/..%2f..%2f..%2f..%2fetc%2fpasswd"),
    "traversal-of-models": Case((404, 422), "", path="/v1/models/..%2f..%2fetc"),
    "huge-path": Case((0, 400, 404, 414, 431), "", path="/" + "a" * 200_000),
    "very-many-parameters": Case(422, "validation", path="/v1/forecast?" + "&".join(f"a{n}=1" for n in range(5000))),
    "repeated-parameter": Case(422, "validation", path="/v1/forecast?limit=1&limit=2"),
    "huge-number-in-query": Case(422, "validation", path="/v1/forecast?limit=" + "9" * 5000),
    "nan-in-query": Case(422, "validation", path="/v1/forecast/ID/plots/plume.png?latitude=nan"),
    "infinite-box": Case(422, "validation", path="/v1/forecast/ID/plots/maps.png?bbox=-1e400,0,1e400,1"),
    "points-without-end": Case(
        422, "validation", path="/v1/forecast/ID/position?coords=MULTIPOINT(" + "1%202," * 330 + "!"
    ),
    "nan-as-a-place": Case(422, "validation", path="/v1/forecast/ID/position?coords=POINT(nan%200)"),
    "polygon-without-end": Case(422, "validation", path="/v1/forecast/ID/area?coords=POLYGON" + "(" * 11_000),
    "polygon-that-crosses-itself": Case(
        422, "validation", path="/v1/forecast/ID/area?coords=POLYGON((0%200,9%209,9%200,0%209,0%200))"
    ),
    "thousand-vertices": Case(
        422, "validation", path="/v1/forecast/ID/area?coords=POLYGON((" + "0%200," * 1000 + "0%200))"
    ),
    "infinite-cube": Case(422, "validation", path="/v1/forecast/ID/cube?bbox=-1e400,0,1e400,1"),
    "thousand-quantiles": Case(
        422, "validation", path="/v1/forecast/ID/position?coords=POINT(0%200)&quantiles=" + "0.1," * 1000
    ),
    "members-without-end": Case(422, "validation", path="/v1/forecast/ID/ensemble.nc?members=0-999999"),
    "thousand-member-ranges": Case(422, "validation", path="/v1/forecast/ID/ensemble.grib2?members=" + "0-1," * 600),
    "infinite-export-box": Case(422, "validation", path="/v1/forecast/ID/summary.nc?bbox=-1e400,0,1e400,1"),
    "export-of-year-zero": Case(422, "validation", path="/v1/forecast/ID/ensemble.nc?datetime=0000-99-99"),
    "signature-without-end": Case(
        404, "no-such-forecast", path="/api/retrieve/v1/jobs/fc_0/results?" + "signature=1&" * 5000
    ),
    # headers
    "huge-header": Case((0, 400, 431), "", headers=(("X-Long", "a" * 300_000),)),
    "ten-thousand-headers": Case((0, 200, 400, 431), "", headers=tuple((f"X-{n}", "1") for n in range(10_000))),
    "header-without-colon": Case((0, 400), "", headers=((b"Broken\r\nX", "1"),)),
    "event-id-of-another-kind": Case(
        422, "validation", path="/v1/forecast/ID/events", headers=(("Last-Event-ID", "x"),)
    ),
    "huge-event-id": Case(422, "validation", path="/v1/forecast/ID/events", headers=(("Last-Event-ID", "9" * 400),)),
    "many-ranges": Case(
        (200, 206, 416),
        "",
        path="/v1/forecast/ID/ensemble.zarr.zip",
        headers=(("Range", "bytes=" + "0-0," * 5000 + "1-1"),),
    ),
    "huge-range": Case(
        (200, 416), "", path="/v1/forecast/ID/ensemble.zarr.zip", headers=(("Range", f"bytes={'9' * 30}-"),)
    ),
    "space-in-idempotency-key": Case(422, "validation", "POST", _SUBMIT, (_JSON, ("Idempotency-Key", "a b")), _json()),
    # framing
    "two-lengths": Case(
        (0, 400), "", "POST", _SUBMIT, (_JSON, ("Content-Length", "5"), ("Content-Length", "6")), b"{}"
    ),
    "negative-length": Case((0, 400), "", "POST", _SUBMIT, (_JSON, ("Content-Length", "-1")), b"{}"),
    "length-and-chunks": Case(
        (0, 400, 422),
        "",
        "POST",
        _SUBMIT,
        (_JSON, ("Content-Length", "4"), ("Transfer-Encoding", "chunked")),
        b"0\r\n\r\nGET /v1/forecast HTTP/1.1\r\n\r\n",
    ),
    "unknown-transfer-coding": Case(
        (0, 400, 501), "", "POST", _SUBMIT, (_JSON, ("Transfer-Encoding", "xchunked")), b"0\r\n\r\n"
    ),
    "obsolete-line-folding": Case((0, 200, 400), "", headers=((b"X-A: 1\r\n folded\r\nX-B", "2"),)),
    "invented-method": Case(405, "method-not-allowed", "INVENTED"),
    "method-override": Case(200, "", headers=(("X-HTTP-Method-Override", "DELETE"),)),
    # bodies
    "declared-too-large": Case(413, "too-large", "POST", _SUBMIT, (_JSON, ("Content-Length", "9" * 15)), b"{"),
    "json-over-a-megabyte": _submit(b" " * 1_100_000, "too-large", 413),
    "json-of-a-replay-over-a-megabyte": Case(
        413, "too-large", "POST", "/v1/forecast/ID/replay", (_JSON,), b" " * 1_100_000
    ),
    "json-in-place-of-files": Case((413, 415, 422), "", "POST", "/v1/inspect", (_JSON,), b" " * 1_100_000),
    "deep-json": _submit(b"[" * 100_000),
    "duplicate-names": _submit(_json()[:-1] + b',"seed":2}'),
    "nan-in-json": _submit(_json(seed="@").replace(b'"@"', b"NaN")),
    "infinite-number": _submit(_json(deadline_seconds="@").replace(b'"@"', b"1e400")),
    "seed-of-2-to-the-63": _submit(_json(seed=2**63)),
    "number-of-5000-digits": _submit(_json(seed="@").replace(b'"@"', b"1" * 5000)),
    "boolean-as-number": _submit(_json(members=True)),
    "text-as-number": _submit(_json(seed="1")),
    "surrogate-in-json": _submit(_json(model="@").replace(b"@", b"\\ud800")),
    "invalid-utf8-in-json": _submit(_json(model="@").replace(b"@", b"\xff")),
    "utf16-json": _submit(_json().decode().encode("utf-16")),
    "nul-in-text": _submit(_json(model="a\x00b")),
    "eight-thousand-fields": _submit(_json({f"f{n}": 1 for n in range(8000)})),
    "name-of-90-kilobytes": _submit(_json({"x" * 90_000: 1})),
    "other-content-type": _submit(b"seed=1", "unsupported-media-type", 415, ("Content-Type", "text/plain")),
    "multipart-without-boundary": _submit(b"--", "validation", 422, ("Content-Type", "multipart/form-data")),
    "multipart-of-garbage": _submit(
        b"\x00\xff" * 500, "validation", 422, ("Content-Type", "multipart/form-data; boundary=b")
    ),
    # batches, states, labels, callbacks, and what is for operators
    "batch-of-401-states": _batch(*[{"source": "forecast", "id": _MISSING}] * 401),
    "batch-of-400-unknown-states": _batch(*({"source": "forecast", "id": f"fc_{n:024x}"} for n in range(400))),
    "batch-of-uploads": _batch({"source": "upload"}),
    "batch-of-ten-thousand-times": Case(
        *(422, "validation", "POST", "/v1/batch?validate_only=true", (_JSON,)),
        _json({"initial_states": {"dataset": "gfs", "init_times": {"start": "0001-01-01", "end": "9999-12-31"}}}),
    ),
    "traversal-of-batch": Case(404, "", path="/v1/batch/ba_0/ensemble.zarr/..%2f..%2fwarmcast.db"),
    "event-id-of-a-batch": Case(404, "no-such-batch", path="/v1/batch/ba_0/events", headers=(("Last-Event-ID", "1"),)),
    "traversal-of-state": Case(404, "", path="/v1/states/..%2f..%2fforecasts%2fID/state.zarr/zarr.json"),
    "state-of-a-path": Case(422, "validation", "POST", "/v1/states", (_JSON,), b'{"source":"forecast","id":"../ID"}'),
    "line-break-in-label": _submit(_json(labels={"a": "b\r\nX-Evil: 1"})),
    "bidirectional-label": _submit(_json(labels={"a": "\u202eb"})),
    "label-that-is-a-path-of-json": _submit(_json(labels={"$.owner": "1"})),
    "filter-that-is-a-path-of-json": Case(422, "validation", path="/v1/forecast?label=$.owner:key_1"),
    "callback-where-none-is-sent": _submit(_json(callback=_CALLBACK)),
    "callback-of-a-batch": _batch({"source": "forecast", "id": _MISSING}, callback=_CALLBACK),
    "audit-log": Case(403, "forbidden", path="/v1/audit"),
    "audit-log-by-an-encoded-path": Case(403, "forbidden", path="/v1/%61udit"),
    "audit-log-with-a-slash": Case(403, "forbidden", path="/audit/"),
    "usage-of-all": Case(403, "forbidden", path="/v1/usage?owner=all"),
    "usage-of-another": Case(403, "forbidden", path="/v1/usage?owner=local"),
    "usage-of-ten-thousand-years": Case(422, "validation", path="/v1/usage?days=3652500"),
    "list-of-another": Case(403, "forbidden", path="/v1/forecast?owner=all"),
    # times
    "year-0": _submit(_json(initial_state={"source": "catalogue", "dataset": "gfs", "init_time": "0000-01-01"})),
    "year-9999": _submit(_json(initial_state={"source": "catalogue", "dataset": "gfs", "init_time": "9999-12-31T18"})),
    "time-before-year-1-in-its-zone": _submit(
        _json(initial_state={"source": "catalogue", "dataset": "gfs", "init_time": "0001-01-01T00+14:00"})
    ),
    "leap-second": _submit(
        _json(initial_state={"source": "catalogue", "dataset": "gfs", "init_time": "2016-12-31T23:59:60"})
    ),
    "lead-time-of-99999-days": _submit(_json(lead_time="99999d")),
    # models
    "model-outside-its-folder": _submit(_json(model="../../etc/passwd")),
    "foreign-forecast-as-state": _submit(_json(initial_state={"source": "forecast", "id": "../../etc/passwd"})),
}


@pytest.fixture(scope="module")
def target(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    served = Served(tmp_path_factory.mktemp("abuse") / "data", untrained_checkpoint.parent)
    yield open_target(served)
    served.client.close()
    served.stop()


@pytest.mark.parametrize("name", CASES)
def test_requests(target: Target, name: str) -> None:
    case = CASES[name]
    path = case.path.replace("ID", target.forecast_id)
    before = target.served.client.get(target.forecast_path()).json()
    answer = target.ask(case.method, path, *case.headers, body=case.body, key=case.key)
    expected = case.status if isinstance(case.status, tuple) else (case.status,)
    assert answer.status in expected, answer
    assert not case.problem or answer.problem == case.problem, answer
    assert len(answer.content) < 100_000
    assert b"set-cookie" not in {name.encode() for name in answer.headers}
    assert not any(secret.encode() in answer.content for secret in target.secrets)
    assert target.served.client.get(target.forecast_path()).json() == before
    assert len(target.served.client.get("/v1/forecast").json()["forecasts"]) == 1
    check_health(target)
