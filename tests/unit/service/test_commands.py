import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from jobs.rows.database import Database
from jobs.settings import Settings
from service import commands
from service.app import create_app
from storage.errors import ConfigurationError
from tests.rows import find_key_id


class _Server:
    """Stands in for `uvicorn.run`: it records what would be served, and returns at once."""

    def __init__(self) -> None:
        self.app: FastAPI | None = None
        self.options: dict[str, Any] = {}

    def run(self, app: FastAPI, **options: Any) -> None:
        self.app, self.options = app, options


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    server = _Server()
    monkeypatch.setattr(uvicorn, "run", server.run)
    return server


def _serve(data: Path, host: str = "127.0.0.1", metrics_port: int | None = None) -> list[str]:
    messages: list[str] = []
    result = commands.serve_api(host=host, port=8123, metrics_port=metrics_port, data=data, report=messages.append)
    assert result == {}
    return messages


def test_the_address_and_the_data_folder_are_announced(server: _Server, tmp_path: Path) -> None:
    (message,) = _serve(tmp_path / "data")
    assert "http://127.0.0.1:8123" in message
    assert str(tmp_path / "data") in message
    assert (server.options["host"], server.options["port"]) == ("127.0.0.1", 8123)


def test_responses_do_not_name_the_server_software(server: _Server, tmp_path: Path) -> None:
    _serve(tmp_path)
    assert server.options["server_header"] is False


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
def test_only_a_loopback_address_opens_the_service_to_callers_without_a_key(
    server: _Server, tmp_path: Path, host: str, is_loopback: bool
) -> None:
    _serve(tmp_path, host)
    assert server.app is not None
    assert ("/metrics" in server.app.openapi()["paths"]) == is_loopback


def test_metrics_on_a_port_of_their_own_are_no_route(server: _Server, tmp_path: Path) -> None:
    _serve(tmp_path, metrics_port=9100)
    assert server.app is not None
    assert "/metrics" not in server.app.openapi()["paths"]


def test_the_data_folder_of_the_command_precedes_the_setting(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMCAST_DATA", str(tmp_path / "setting"))
    assert str(tmp_path / "given") in _serve(tmp_path / "given")[0]
    messages: list[str] = []
    commands.serve(host="::1", port=1, metrics_port=None, data=None, report=messages.append)
    assert str(tmp_path / "setting") in messages[0]


@pytest.mark.parametrize("command", [commands.serve, commands.serve_api])
def test_an_unknown_setting_is_refused_before_anything_is_served(
    command: Any, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMCAST_MAX_MEMBER", "3")
    messages: list[str] = []
    with pytest.raises(ConfigurationError, match="`WARMCAST_MAX_MEMBER` is"):
        command(host="127.0.0.1", port=1, metrics_port=None, data=tmp_path, report=messages.append)
    assert (messages, server.app) == ([], None)


def test_the_described_api_is_the_document_with_sorted_keys() -> None:
    document = commands.describe_api()
    assert document == json.loads(json.dumps(create_app(Settings()).openapi()))
    assert list(document) == sorted(document)
    assert list(document["paths"]) == sorted(document["paths"])


def test_a_new_key_is_valid_and_its_secret_is_returned_only_once(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    made = commands.create_api_key(name="desk", data=data)
    assert (made["name"], made["revoked"]) == ("desk", None)
    assert re.fullmatch(r"wc_[\w-]{43}", made["secret"])
    database = Database(Settings.of(data=data).storage.sql_url)
    assert find_key_id(database, made["secret"]) == made["id"]
    database.close()
    (listed,) = commands.list_api_keys(data=data)["keys"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert made["secret"].encode() not in b"".join(path.read_bytes() for path in data.iterdir())


def test_a_revoked_key_is_still_listed_and_a_second_revocation_changes_nothing(tmp_path: Path) -> None:
    made = [commands.create_api_key(name=name, data=tmp_path) for name in ("one", "two")]
    assert commands.revoke_api_key(key_id=made[0]["id"], data=tmp_path) == {"id": made[0]["id"]}
    first = commands.list_api_keys(data=tmp_path)["keys"]
    commands.revoke_api_key(key_id=made[0]["id"], data=tmp_path)
    assert commands.list_api_keys(data=tmp_path)["keys"] == first
    assert [(key["name"], key["revoked"] is not None) for key in first] == [("one", True), ("two", False)]


def test_revoking_an_unknown_key_says_where_the_known_ones_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"`warmcast key list` prints. Got: 'key_none'"):
        commands.revoke_api_key(key_id="key_none", data=tmp_path)


@pytest.mark.parametrize("name", ["", "x" * 101, "tab\tbed"])
def test_a_key_needs_a_printable_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="`name` must have 1 to 100 printable characters"):
        commands.create_api_key(name=name, data=tmp_path)
    assert commands.list_api_keys(data=tmp_path) == {"keys": []}


def test_without_keys_none_are_listed(tmp_path: Path) -> None:
    assert commands.list_api_keys(data=tmp_path / "empty") == {"keys": []}
