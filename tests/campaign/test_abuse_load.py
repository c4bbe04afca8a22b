"""Clients that take places, memory and connections: the service refuses, answers others, and gives all back.

Each case is a row of the table in `docs/security.md`. They take minutes, so they run in `make campaign` only.
"""

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.campaign.abuse import Answer, Header, Target, check_health, open_target
from tests.helpers import wait_until
from tests.served import Served

_LEAST = 10
_MULTIPART: Header = ("Content-Type", "multipart/form-data; boundary=b")
_MEMORY = 150_000_000


@pytest.fixture(scope="module")
def target(
    request: pytest.FixtureRequest, untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    if int(request.config.getoption("--kills")) < _LEAST:
        pytest.skip(f"needs --kills {_LEAST} or more, as in make campaign")
    served = Served(
        tmp_path_factory.mktemp("abuse") / "data", untrained_checkpoint.parent, key_uploads="100", max_waiting="6"
    )
    yield open_target(served)
    served.client.close()
    served.stop()


def _connect(stack: ExitStack, target: Target, number: int) -> list[socket.socket]:
    address = "127.0.0.1", target.port
    return [stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(number)]


def _check_others(target: Target) -> None:
    """Check that another key's requests are answered."""
    for path in ("/healthz", "/v1/forecast", "/v1/models", "/v1/limits"):
        assert target.ask("GET", path, key=1).status == 200


def _check_given_back(target: Target, files: int, memory: int) -> None:
    wait_until(lambda: target.open_files() <= files + 10, 180, describe=target.open_files)
    assert target.memory() < memory + _MEMORY
    check_health(target)


def test_a_thousand_idle_connections_delay_nobody(target: Target) -> None:
    files, memory = target.open_files(), target.memory()
    with ExitStack() as stack:
        _connect(stack, target, 1000)
        _check_others(target)
    _check_given_back(target, files, memory)


def test_requests_of_one_byte_at_a_time_delay_nobody(target: Target) -> None:
    files, memory = target.open_files(), target.memory()
    with ExitStack() as stack:
        connections = _connect(stack, target, 200)
        for byte in target.encode("GET", "/v1/forecast")[:20]:
            for connection in connections:
                connection.sendall(bytes([byte]))
        _check_others(target)
    _check_given_back(target, files, memory)


def test_bodies_that_never_arrive_delay_nobody(target: Target) -> None:
    files, memory = target.open_files(), target.memory()
    head = target.encode("POST", "/v1/inspect", _MULTIPART, ("Content-Length", "1000000"), body=b"--b\r\n")
    with ExitStack() as stack:
        for connection in _connect(stack, target, 50):
            connection.sendall(head)
        _check_others(target)
    _check_given_back(target, files, memory)


def test_a_response_that_nobody_reads_delays_nobody(target: Target) -> None:
    files, memory = target.open_files(), target.memory()
    request = target.encode("GET", target.forecast_path("/ensemble.zarr.zip")).replace(b"close", b"keep-alive")
    with ExitStack() as stack:
        for connection in _connect(stack, target, 100):
            connection.sendall(request * 20)
        _check_others(target)
    _check_given_back(target, files, memory)


def test_more_uploads_than_places_are_refused_with_a_time_to_retry(target: Target) -> None:
    files, memory = target.open_files(), target.memory()
    answers = _upload_at_once(target, 30)
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) == {415, 429}, statuses
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status == 429)
    assert {answer.problem for answer in answers if answer.status == 429} == {"too-busy"}
    _check_given_back(target, files, memory)


def _upload_at_once(target: Target, number: int) -> list[Answer]:
    content = b"no weather" * 1_000_000
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(lambda _: target.upload([content]), range(number)))


def test_uploads_of_one_key_leave_places_to_another(target: Target) -> None:
    with ThreadPoolExecutor(31) as threads:
        attack = [threads.submit(target.upload, [b"no weather" * 1_000_000]) for _ in range(30)]
        other = Target(target.served, (target.secrets[1], target.secrets[1]))
        answers = [other.upload([b"no weather"]).status for _ in range(3)]
        assert answers == [415] * 3
        assert all(upload.result().status in (415, 429) for upload in attack)
    check_health(target)


def test_more_pictures_than_places_are_refused_with_a_time_to_retry(target: Target) -> None:
    files, memory = target.open_files(), target.memory()
    paths = [target.forecast_path(f"/plots/plume.png?latitude={number}") for number in range(40)]
    with ThreadPoolExecutor(40) as threads:
        statuses = Counter(answer.status for answer in threads.map(lambda path: target.ask("GET", path), paths))
    assert set(statuses) == {200, 429}, statuses
    _check_given_back(target, files, memory)


def test_one_picture_for_many_callers_is_drawn_once(target: Target) -> None:
    path = target.forecast_path("/plots/plume.png?latitude=10&units=kn")
    with ThreadPoolExecutor(40) as threads:
        statuses = Counter(answer.status for answer in threads.map(lambda _: target.ask("GET", path), range(40)))
    assert statuses == {200: 40}


def test_clients_that_leave_free_their_places(target: Target) -> None:
    files, memory = target.open_files(), target.memory()
    upload = target.encode("POST", "/v1/inspect", _MULTIPART, body=b"--b\r\n" + bytes(5_000_000))
    for _ in range(5):
        with ExitStack() as stack:
            for index, connection in enumerate(_connect(stack, target, 20)):
                picture = target.encode("GET", target.forecast_path(f"/plots/plume.png?longitude={index}"))
                connection.sendall(upload[:2_000_000] if index % 2 else picture)
    wait_until(lambda: target.upload([b"no weather"]).status == 415, 120)
    _check_given_back(target, files, memory)


def test_event_streams_of_many_callers_delay_nobody(target: Target) -> None:
    files, memory = target.open_files(), target.memory()
    forecast_id = target.served.submit(members=8, lead_time="360h", sampler={"nfe": 50})["id"]
    with ExitStack() as stack:
        for connection in _connect(stack, target, 300):
            connection.sendall(target.encode("GET", f"/v1/forecast/{forecast_id}/events"))
        _check_others(target)
    target.ask("DELETE", f"/v1/forecast/{forecast_id}")
    _check_given_back(target, files, memory)


def test_forty_hostile_bodies_at_once_delay_nobody(target: Target) -> None:
    memory = target.memory()
    body = b'{"members": [' + b"-1," * 4900 + b"-1]}"
    with ThreadPoolExecutor(41) as threads:
        attack = [threads.submit(target.post, body) for _ in range(40)]
        _check_others(target)
        assert {answer.result().status for answer in attack} == {422}
    assert target.memory() < memory + _MEMORY
    check_health(target)


def test_no_process_of_a_request_outlives_it(target: Target) -> None:
    before = target.children()
    for _ in range(5):
        target.upload([b"no weather"])
    wait_until(lambda: len(target.children()) <= len(before) + 3, describe=target.children)
