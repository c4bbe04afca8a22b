"""A real service with two API keys and a finished forecast of the first, and raw requests to it for abuse cases."""

import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.keys import create_key
from jobs.rows.database import Database
from tests.helpers import wait_until
from tests.served import Served

Header = tuple[str | bytes, str | bytes]
_SECONDS = 300.0
"""Seconds to wait for a response, also on a machine that does other work."""


@dataclass(frozen=True)
class Answer:
    """A response as it was received: status 0 if the connection was closed without one."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def problem(self) -> str:
        """The type of the problem document, without `/problems/`; empty if it is none."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(json.loads(self.content)["type"]).removeprefix("/problems/")


@dataclass
class Target:
    """The service under attack, the secrets of two keys, and the id of a finished forecast of the first key."""

    served: Served
    secrets: tuple[str, str]
    forecast_id: str = ""
    checked_log: int = 0
    """Length of the part of the log that `check_health` has read."""

    @property
    def port(self) -> int:
        """The port of the service."""
        return int(self.served.url.rsplit(":", 1)[1])

    @property
    def log(self) -> str:
        """The log of the service."""
        return (self.served.data.parent / "serve.log").read_text(errors="replace")

    def key(self, index: int = 0) -> Header:
        """Return the header with one of the keys."""
        return "PRIVATE-TOKEN", self.secrets[index]

    def send(self, content: bytes, *, seconds: float = _SECONDS) -> Answer:
        """Send bytes on a connection of their own, and return the first response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            with suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(content)
            return _receive(connection)

    def ask(self, method: str, path: str, *headers: Header, body: bytes | None = None, key: int | None = 0) -> Answer:
        """Send one request, with the key unless it is None, and return its response."""
        return self.send(self.encode(method, path, *headers, body=body, key=key))

    def encode(self, method: str, path: str, *headers: Header, body: bytes | None = None, key: int | None = 0) -> bytes:
        """Return the bytes of a request; its own headers precede those that it needs to be complete."""
        sent = {_bytes(name).lower() for name, _ in headers}
        complete = list(headers)
        if b"host" not in sent:
            complete.append(("Host", "localhost"))
        if key is not None:
            complete.append(self.key(key))
        if body is not None and not sent & {b"content-length", b"transfer-encoding"}:
            complete.append(("Content-Length", str(len(body))))
        complete.append(("Connection", "close"))
        lines = [_bytes(name) + b": " + _bytes(value) for name, value in complete]
        start = f"{method} {path} HTTP/1.1".encode("utf-8", "surrogatepass")
        return b"\r\n".join([start, *lines, b"", body or b""])

    def post(self, content: bytes | Mapping[str, Any], path: str = "/v1/forecast?validate_only=true") -> Answer:
        """Send JSON with the first key."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.ask("POST", path, ("Content-Type", "application/json"), body=body)

    def upload(self, files: Sequence[bytes | Path], path: str = "/v1/inspect?model=untrained", **texts: str) -> Answer:
        """Send files as `initial_state`, or as `truth` to `verify`, with texts as further parts."""
        name = "truth" if path.endswith("/verify") else "initial_state"
        parts = [(f'name="{text}"', value.encode()) for text, value in texts.items()]
        for index, file in enumerate(files):
            content = file.read_bytes() if isinstance(file, Path) else file
            parts.append((f'name="{name}"; filename="{index}"', content))
        body = b"".join(
            f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
            for head, content in parts
        )
        return self.ask("POST", path, ("Content-Type", "multipart/form-data; boundary=b"), body=body + b"--b--\r\n")

    def forecast_path(self, rest: str = "") -> str:
        """Return a path of the finished forecast."""
        return f"/v1/forecast/{self.forecast_id}{rest}"

    def memory(self) -> int:
        """Return the bytes of the service's own process that are in memory."""
        pages = Path(f"/proc/{self.served.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """Return the number of open files and sockets of the service's own process, without those of its database.

        The pool keeps connections to the database, and each has up to three files.
        """
        descriptors = Path(f"/proc/{self.served.process.pid}/fd").iterdir()
        return sum("warmcast.db" not in _target_of(descriptor) for descriptor in descriptors)

    def children(self) -> set[int]:
        """Return the ids of all processes that the service and its children have started and that are alive."""
        found, parents = set[int](), {self.served.process.pid}
        while parents:
            parents = {child for parent in parents for child in _children_of(parent)} - found
            found |= parents
        return found


def open_target(served: Served, *, forecast: bool = True) -> Target:
    """Create two keys and, unless it is not needed, a finished forecast of the first."""
    database = Database(f"sqlite:///{served.data / 'warmcast.db'}")
    try:
        with database.write() as connection:
            secrets = tuple(create_key(connection, name)[1] for name in ("one", "two"))
    finally:
        database.close()
    target = Target(served, (secrets[0], secrets[1]))
    served.client.headers["PRIVATE-TOKEN"] = secrets[0]
    served.client.timeout = _SECONDS
    if forecast:
        target.forecast_id = served.submit(members=2, lead_time="12h")["id"]
        served.wait(target.forecast_id, 300)
    return target


def check_health(target: Target) -> None:
    """Check that the service lives, has kept no upload, and has had no internal error since the last call."""
    assert target.served.client.get("/healthz").status_code == 200
    log = target.log
    new, target.checked_log = log[target.checked_log :], len(log)
    assert not re.search(r"Unexpected error|Traceback", new), new[-5000:]
    wait_until(lambda: not target.served.temporary_files(), describe=target.served.temporary_files)


def _target_of(descriptor: Path) -> str:
    """Return what a descriptor in `/proc` refers to, or nothing if it was closed in the meantime."""
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""


def _children_of(pid: int) -> set[int]:
    children = set[int]()
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children |= {int(child) for child in (thread / "children").read_text().split()}
    return children


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _receive(connection: socket.socket) -> Answer:
    content = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            content += part
    head, _, body = content.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    if not start.startswith("HTTP/"):
        return Answer(0, {}, content)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(start.split(" ")[1]), headers, body)
