"""Callers with a key who try to reach what is another's, or more than is theirs: nothing leaks and nothing changes.

Each case is a row of the table in `docs/security.md`.
"""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.keys import create_key, revoke_key
from jobs.rows.database import Database
from tests.campaign.abuse import Answer, Header, Target, check_health, open_target
from tests.helpers import wait_until
from tests.in_process import describe_api
from tests.served import Served, small_request

_LEAST = 10
_JSON: Header = ("Content-Type", "application/json")
_OWN_ROUTES = [
    (method.upper(), path)
    for path, methods in describe_api()["paths"].items()
    for method in methods
    if re.search(r"\{(forecast|batch|state)_id\}", path)
]
_UNKNOWN = {"{forecast_id}": "fc_", "{batch_id}": "ba_", "{state_id}": "st_"}


@pytest.fixture(scope="module")
def target(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    served = Served(tmp_path_factory.mktemp("abuse") / "data", untrained_checkpoint.parent, key_open_forecasts="3")
    yield open_target(served)
    served.client.close()
    served.stop()


@pytest.fixture(scope="module")
def ids(target: Target) -> dict[str, str]:
    """The ids of a forecast, a batch and an initial state of the first key, by their parameters in a path."""
    source = {"source": "forecast", "id": target.forecast_id}
    body = small_request(members=1, lead_time="6h", initial_states=[source])
    del body["initial_state"]
    batch, state = (
        json.loads(target.post(each, path).content)["id"]
        for each, path in ((body, "/v1/batch"), (source, "/v1/states"))
    )
    wait_until(lambda: b'"successful"' in target.ask("GET", f"/v1/batch/{batch}").content)
    return {"{forecast_id}": target.forecast_id, "{batch_id}": batch, "{state_id}": state}


@pytest.fixture
def at_length(request: pytest.FixtureRequest) -> None:
    """Skip cases that start a service of their own or take long, unless in `make campaign`."""
    if int(request.config.getoption("--kills")) < _LEAST:
        pytest.skip(f"needs --kills {_LEAST} or more, as in make campaign")


def _change(target: Target, change: Callable[..., object], *arguments: object) -> object:
    database = Database(f"sqlite:///{target.served.data / 'warmcast.db'}")
    try:
        with database.write() as connection:
            return change(connection, *arguments)
    finally:
        database.close()


def _without_ids(answer: Answer) -> tuple[int, bytes]:
    return answer.status, re.sub(rb'(fc|ba|st)_\w+|"trace_id":"\w+"', b"", answer.content)


@pytest.mark.parametrize(("method", "path"), _OWN_ROUTES)
def test_a_forecast_of_another_key_answers_as_one_that_does_not_exist(
    target: Target, ids: dict[str, str], method: str, path: str
) -> None:
    filled = path.replace("{key}", "zarr.json")
    parameter = next(name for name in ids if name in path)
    answers = [
        target.ask(method, filled.replace(parameter, each), _JSON, body=b"{}", key=1)
        for each in (ids[parameter], _UNKNOWN[parameter] + "0123456789abcdef01234567")
    ]
    assert answers[0].status == 404
    assert _without_ids(answers[0]) == _without_ids(answers[1])
    for kind, name in (("forecast", "{forecast_id}"), ("batch", "{batch_id}"), ("states", "{state_id}")):
        assert target.ask("GET", f"/v1/{kind}/{ids[name]}").status == 200


def test_a_list_holds_only_the_callers_forecasts(target: Target, ids: dict[str, str]) -> None:
    forecast, batch, state = ids.values()
    for path in ("/v1/forecast", f"/v1/forecast?before={forecast}", f"/v1/forecast?batch={batch}"):
        assert json.loads(target.ask("GET", path, key=1).content)["forecasts"] == [], path
    for path in ("/v1/batch", f"/v1/batch?before={batch}"):
        assert json.loads(target.ask("GET", path, key=1).content)["batches"] == [], path
    for path in ("/v1/states", f"/v1/states?before={state}"):
        assert json.loads(target.ask("GET", path, key=1).content)["states"] == [], path


def test_a_forecast_of_another_key_starts_none(target: Target) -> None:
    body = small_request(initial_state={"source": "forecast", "id": target.forecast_id})
    answer = target.ask("POST", "/v1/forecast", _JSON, body=json.dumps(body).encode(), key=1)
    assert (answer.status, answer.problem) == (422, "validation")
    assert b"your forecasts" in answer.content


def test_a_state_of_another_key_starts_none(target: Target, ids: dict[str, str]) -> None:
    missing = _UNKNOWN["{state_id}"] + "0123456789abcdef01234567"
    for path, field in (("/v1/forecast", "initial_state"), ("/v1/batch", "initial_states")):
        answers = []
        for name in (ids["{state_id}"], missing):
            source = {"source": "state", "id": name}
            body = small_request()
            del body["initial_state"]
            body[field] = [source] if field.endswith("s") else source
            answers.append(target.ask("POST", path, _JSON, body=json.dumps(body).encode(), key=1))
        assert answers[0].status == 422
        assert _without_ids(answers[0]) == _without_ids(answers[1])


def test_an_idempotency_key_of_another_api_key_returns_neither_batch_nor_state_of_it(
    target: Target, ids: dict[str, str]
) -> None:
    headers = (_JSON, ("Idempotency-Key", "shared-by-chance-too"))
    source = json.dumps({"source": "forecast", "id": target.forecast_id}).encode()
    first = target.ask("POST", "/v1/states", *headers, body=source)
    assert (first.status, target.ask("POST", "/v1/states", *headers, body=source).status) == (201, 200)
    other = target.ask("POST", "/v1/states", *headers, body=source, key=1)
    assert (other.status, other.problem) == (422, "validation")
    assert json.loads(first.content)["id"].encode() not in other.content


def test_ids_cannot_be_guessed(target: Target) -> None:
    assert re.fullmatch(r"fc_[0-9a-f]{24}", target.forecast_id)
    near = [f"{target.forecast_id[:-1]}{digit}" for digit in "0123456789abcdef"]
    found = [name for name in near if target.ask("GET", f"/v1/forecast/{name}", key=1).status != 404]
    assert found == []


def test_an_idempotency_key_of_another_api_key_returns_nothing_of_it(target: Target) -> None:
    body = json.dumps(small_request(members=1, lead_time="6h")).encode()
    headers = (_JSON, ("Idempotency-Key", "shared-by-chance"))
    ids = [
        json.loads(target.ask("POST", "/v1/forecast", *headers, body=body, key=key).content)["id"] for key in (0, 1, 0)
    ]
    assert ids[0] == ids[2] != ids[1]


def test_a_key_submits_no_more_than_its_limit_at_the_same_time(target: Target) -> None:
    body = json.dumps(small_request(members=8, lead_time="240h", sampler={"nfe": 20})).encode()
    secret = str(_change(target, lambda connection: create_key(connection, "greedy")[1]))
    attacker = Target(target.served, (secret, secret))
    sockets = [socket.create_connection(("127.0.0.1", target.port), timeout=60) for _ in range(20)]
    for opened in sockets:
        opened.sendall(attacker.encode("POST", "/v1/forecast", _JSON, body=body))
    answers = [opened.makefile("rb").read() for opened in sockets]
    statuses = sorted(int(answer.split(b" ", 2)[1]) for answer in answers)
    for opened in sockets:
        opened.close()
    assert statuses == [202] * 3 + [429] * 17
    assert target.ask("GET", "/v1/limits", key=1).status == 200
    for forecast in json.loads(attacker.ask("GET", "/v1/forecast").content)["forecasts"]:
        attacker.ask("DELETE", f"/v1/forecast/{forecast['id']}")


def test_a_key_has_no_high_priority_unless_it_may(target: Target) -> None:
    answer = target.post(small_request(priority="high"))
    assert (answer.status, answer.problem) == (403, "limit-exceeded")


def test_a_revoked_key_loses_its_streams_within_5_seconds(target: Target) -> None:
    key, secret = _change(target, lambda connection: create_key(connection, "revoked"))  # type: ignore[misc] # a pair
    attacker = Target(target.served, (secret, secret))
    body = json.dumps(small_request(members=8, lead_time="360h", sampler={"nfe": 50})).encode()
    forecast_id = json.loads(attacker.ask("POST", "/v1/forecast", _JSON, body=body).content)["id"]
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as stream:
        stream.sendall(attacker.encode("GET", f"/v1/forecast/{forecast_id}/events"))
        assert b"event: accepted" in _read_until(stream, b"event: accepted")
        _change(target, revoke_key, key.id)
        began = time.monotonic()
        while stream.recv(1 << 16):
            pass
        assert time.monotonic() - began < 5 + 5  # 5 s more for a machine that does other work
    assert attacker.ask("GET", f"/v1/forecast/{forecast_id}").status == 401


def _read_until(stream: socket.socket, mark: bytes) -> bytes:
    content = b""
    while mark not in content:
        part = stream.recv(1 << 16)
        assert part, content
        content += part
    return content


def test_wrong_keys_are_slowed_and_a_right_one_is_not(target: Target) -> None:
    answers = [target.ask("GET", "/v1/models", ("PRIVATE-TOKEN", f"wc_{n}"), key=None) for n in range(15)]
    assert [answer.status for answer in answers][-1] == 429
    assert "retry-after" in answers[-1].headers
    assert target.ask("GET", "/v1/models").status == 200


def test_no_secret_is_logged(target: Target) -> None:
    target.ask("GET", f"/v1/forecast?secret={target.secrets[0]}")
    target.ask("GET", "/v1/models", ("Authorization", "Bearer wc_mistyped_secret"), key=None)
    assert not [secret for secret in (*target.secrets, "wc_mistyped_secret") if secret in target.log]


@pytest.mark.parametrize(
    "path", ["/v1/a%0aERROR forged".replace(" ", "%20"), "/v1/a%0d%0a2026-01-01T00:00:00.000Z%20x"]
)
def test_a_path_forges_no_line_of_the_log(target: Target, path: str) -> None:
    target.ask("GET", path)
    wait_until(lambda: "404" in target.log.splitlines()[-1])
    lines = target.log.splitlines()
    assert not [line for line in lines if line.startswith(("ERROR forged", "2026-01-01T00:00:00"))]


def test_an_id_of_a_request_forges_no_line_of_the_log(target: Target) -> None:
    answer = target.ask("GET", "/v1/models", ("X-Request-ID", b"abcdefgh\xe2\x80\xa8forged"))
    assert b"forged" not in answer.headers["x-request-id"].encode()
    assert "forged\n" not in target.log


def test_invented_methods_and_paths_make_no_series(target: Target) -> None:
    target.ask("GET", "/v1/models")
    before = len(target.ask("GET", "/metrics").content)
    for number in range(50):
        target.ask(f"METHOD{number}", f"/v1/path{number}")
    assert len(target.ask("GET", "/metrics").content) < before + 5000
    assert b"METHOD" not in target.ask("GET", "/metrics").content


def test_every_response_has_the_security_headers(target: Target) -> None:
    for path in ("/v1/forecast", "/v1/no", "/docs", target.forecast_path("/ensemble.zarr/zarr.json")):
        headers = target.ask("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", path
        assert "content-security-policy" in headers, path
        assert "server" not in headers, path


def test_the_documentation_needs_a_key_if_the_setting_says_so(at_length: None, serve: Callable[..., Served]) -> None:
    target = open_target(serve(docs="key"), forecast=False)
    for path in ("/docs", "/openapi.json", "/docs/swagger-ui.css"):
        assert target.ask("GET", path, key=None).status == 401
        assert target.ask("GET", path).status == 200


def test_a_public_service_without_keys_refuses_all_but_health(at_length: None, serve: Callable[..., Served]) -> None:
    target = Target(serve(public_url="https://weather.example"), ("", ""))
    for path in ("/v1/forecast", "/v1/models", "/docs", "/openapi.json", "/metrics", "/no"):
        assert target.ask("GET", path, ("Host", "weather.example"), key=None).status == 401, path
    for path in ("/healthz", "/readyz"):
        assert target.ask("GET", path, ("Host", "weather.example"), key=None).status in (200, 503), path


def test_nothing_has_failed(target: Target) -> None:
    check_health(target)
