import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from jobs import key_commands
from jobs.rows.database import Database
from jobs.settings import Settings
from service import commands
from service.app import create_app
from service.commands import _is_loopback, _listen, _Server
from storage.errors import ConfigurationError, DataDirectoryError
from tests.rows import find_key_id


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with _listen("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"Port {port} of 127\.0\.0\.1 is in use\. Stop the program"):
            _listen("127.0.0.1", port)


@pytest.mark.parametrize("command", [commands.serve, commands.serve_api])
def test_an_address_whose_port_is_in_use_is_never_announced(
    command: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    messages: list[str] = []
    with _listen("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"Port {port} of 127\.0\.0\.1 is in use"):
            command(host="127.0.0.1", port=port, metrics_port=None, data=tmp_path, report=messages.append)
    assert messages == []


def test_connections_send_small_packets_at_once() -> None:
    with _listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on port 0 of 192\.0\.2\.1: Cannot assign"):
        _listen("192.0.2.1", 0)


def test_the_address_is_announced_when_connections_are_accepted_and_the_application_closes_last() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        steps.append("opened")
        yield
        steps.append("closed")

    with _listen("127.0.0.1", 0) as listener:

        def announce() -> None:
            socket.create_connection(listener.getsockname()).close()
            steps.append("announced")
            server.should_exit = True

        server = _Server(FastAPI(lifespan=lifespan), announce)
        asyncio.run(server.serve([listener]))
    assert steps == ["opened", "announced", "closed"]


def test_an_error_of_the_start_is_raised_and_nothing_announced() -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        raise DataDirectoryError("The folder is in use.")
        yield

    with _listen("127.0.0.1", 0) as listener, pytest.raises(DataDirectoryError, match="in use"):
        asyncio.run(_Server(FastAPI(lifespan=lifespan), lambda: pytest.fail("announced")).serve([listener]))


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("::ffff:8.8.8.8", False),
        ("warmcast.example", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_only_a_loopback_address_opens_the_service_to_callers_without_a_key(host: str, is_loopback: bool) -> None:
    assert _is_loopback(host) == is_loopback


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[_Server]:
    """The servers that commands start; each announces its address and stops at once, without opening anything."""
    servers: list[_Server] = []

    def run(server: _Server, sockets: list[socket.socket]) -> None:
        servers.append(server)
        server._announce()

    monkeypatch.setattr(_Server, "run", run)
    return servers


def _serve(
    data: Path | None,
    *,
    host: str = "127.0.0.1",
    metrics_port: int | None = None,
    command: Callable[..., dict[str, Any]] = commands.serve_api,
) -> str:
    """Carry out a command on any free port, and return its message."""
    messages: list[str] = []
    assert command(host=host, port=0, metrics_port=metrics_port, data=data, report=messages.append) == {}
    (message,) = messages
    return message


@pytest.mark.parametrize("command", [commands.serve, commands.serve_api])
def test_the_address_and_the_data_folder_are_announced(
    servers: list[_Server], tmp_path: Path, command: Callable[..., dict[str, Any]]
) -> None:
    message = _serve(tmp_path / "data", command=command)
    assert "http://127.0.0.1:0" in message
    assert str(tmp_path / "data") in message
    assert len(servers) == 1


def test_an_announced_ipv6_address_is_a_valid_url(servers: list[_Server], tmp_path: Path) -> None:
    assert "http://[::1]:0 " in _serve(tmp_path, host="::1")


def test_responses_do_not_name_the_server_software(servers: list[_Server], tmp_path: Path) -> None:
    _serve(tmp_path)
    assert servers[0].config.server_header is False


@pytest.mark.parametrize(
    ("host", "metrics_port", "is_route"),
    [("127.0.0.1", None, True), ("127.0.0.1", 9100, False), ("0.0.0.0", None, False)],
)
def test_metrics_are_a_route_only_on_loopback_and_without_a_port_of_their_own(
    servers: list[_Server], tmp_path: Path, host: str, metrics_port: int | None, is_route: bool
) -> None:
    _serve(tmp_path, host=host, metrics_port=metrics_port)
    app = servers[0]._app
    assert ("/metrics" in app.openapi()["paths"]) == is_route


def test_the_data_folder_of_the_command_precedes_the_setting(
    servers: list[_Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMCAST_DATA", str(tmp_path / "setting"))
    assert str(tmp_path / "given") in _serve(tmp_path / "given")
    assert str(tmp_path / "setting") in _serve(None)


@pytest.mark.parametrize("command", [commands.serve, commands.serve_api])
def test_an_unknown_setting_is_refused_before_anything_is_served(
    command: Callable[..., dict[str, Any]], servers: list[_Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMCAST_MAX_MEMBER", "3")
    with pytest.raises(ConfigurationError, match="`WARMCAST_MAX_MEMBER` is"):
        _serve(tmp_path, command=command)
    assert servers == []


def test_the_described_api_is_the_document_with_sorted_keys() -> None:
    document = commands.describe_api()
    assert document == json.loads(json.dumps(create_app(Settings()).openapi()))
    assert list(document) == sorted(document)
    assert list(document["paths"]) == sorted(document["paths"])


def test_a_new_key_is_valid_and_its_secret_is_returned_only_once(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    made = key_commands.create_api_key(name="desk", data=data)
    assert (made["name"], made["revoked"]) == ("desk", None)
    assert re.fullmatch(r"wc_[\w-]{43}", made["secret"])
    database = Database(Settings.of(data=data).storage.sql_url)
    assert find_key_id(database, made["secret"]) == made["id"]
    database.close()
    (listed,) = key_commands.list_api_keys(data=data)["keys"]
    assert {name: listed.get(name) for name in made} == made | {"secret": None}
    assert "secret" not in listed
    assert made["secret"].encode() not in b"".join(path.read_bytes() for path in data.iterdir())


def test_a_revoked_key_is_still_listed_and_a_second_revocation_changes_nothing(tmp_path: Path) -> None:
    made = [key_commands.create_api_key(name=name, data=tmp_path) for name in ("one", "two")]
    assert key_commands.revoke_api_key(key_id=made[0]["id"], data=tmp_path) == {"id": made[0]["id"]}
    first = key_commands.list_api_keys(data=tmp_path)["keys"]
    key_commands.revoke_api_key(key_id=made[0]["id"], data=tmp_path)
    assert key_commands.list_api_keys(data=tmp_path)["keys"] == first
    assert [(key["name"], key["revoked"] is not None) for key in first] == [("one", True), ("two", False)]


def test_revoking_an_unknown_key_says_where_the_known_ones_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"`warmcast key list` prints. Got: 'key_none'"):
        key_commands.revoke_api_key(key_id="key_none", data=tmp_path)


@pytest.mark.parametrize("name", ["", "x" * 101, "tab\tbed"])
def test_a_key_needs_a_printable_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="`name` must have 1 to 100 printable characters"):
        key_commands.create_api_key(name=name, data=tmp_path)
    assert key_commands.list_api_keys(data=tmp_path) == {"keys": []}


def test_the_list_of_keys_is_empty_before_the_first_one(tmp_path: Path) -> None:
    assert key_commands.list_api_keys(data=tmp_path / "empty") == {"keys": []}


def test_limits_of_a_key_are_listed_with_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMCAST_KEY_UPLOADS", "7")
    made = key_commands.create_api_key(name="desk", limits={"open_forecasts": 3, "uploads": None}, data=tmp_path)
    (listed,) = key_commands.list_api_keys(data=tmp_path)["keys"]
    assert listed["limits"] == {"open_forecasts": 3}
    assert listed["in_force"]["open_forecasts"] == {"value": 3, "used": 0}
    assert listed["in_force"]["uploads"] == {"value": 7, "used": None}
    changed = key_commands.limit_api_key(key_id=made["id"], limits={"open_forecasts": None}, data=tmp_path)
    assert (changed["limits"], changed["in_force"]["open_forecasts"]["value"]) == ({}, 50)
