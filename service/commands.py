"""Carry out `warmcast serve`, `warmcast api`, `warmcast openapi` and `warmcast key`."""

import errno
import ipaddress
import json
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from jobs.installation import open_installation
from jobs.keys import create_key, list_keys, revoke_key
from jobs.logs import configure_logging
from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from storage.errors import ConfigurationError


def serve(
    *, host: str, port: int, metrics_port: int | None, data: Path | None, report: Callable[[str], None]
) -> dict[str, Any]:
    """Serve until stopped, and keep one worker process running."""
    return _serve(host, port, metrics_port, data, report, with_worker=True)


def serve_api(
    *, host: str, port: int, metrics_port: int | None, data: Path | None, report: Callable[[str], None]
) -> dict[str, Any]:
    """Serve until stopped, without a worker."""
    return _serve(host, port, metrics_port, data, report, with_worker=False)


def describe_api() -> dict[str, Any]:
    """Return the OpenAPI document of the API as a dictionary with sorted keys."""
    document: dict[str, Any] = json.loads(json.dumps(create_app(Settings()).openapi(), sort_keys=True))
    return document


def create_api_key(*, name: str, data: Path | None) -> dict[str, Any]:
    """Create an API key; only the returned receipt contains its secret."""
    database = _open_database(data)
    with database.write() as connection:
        key, secret = create_key(connection, name)
    database.close()
    return asdict(key) | {"secret": secret}


def list_api_keys(*, data: Path | None) -> dict[str, Any]:
    """Return all keys, without their secrets."""
    database = _open_database(data)
    with database.read() as connection:
        keys = [asdict(key) for key in list_keys(connection)]
    database.close()
    return {"keys": keys}


def revoke_api_key(*, key_id: str, data: Path | None) -> dict[str, Any]:
    """Revoke a key."""
    database = _open_database(data)
    with database.write() as connection:
        revoke_key(connection, key_id)
    database.close()
    return {"id": key_id}


def _serve(
    host: str,
    port: int,
    metrics_port: int | None,
    data: Path | None,
    report: Callable[[str], None],
    *,
    with_worker: bool,
) -> dict[str, Any]:
    settings = _read_settings(data)
    configure_logging(settings.log.log_format, settings.log.log_level)
    app = create_app(settings, only_loopback=_is_loopback(host), with_worker=with_worker, metrics_port=metrics_port)
    with _listen(host, port) as listener, suppress(KeyboardInterrupt):  # the server has stopped by then
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        message = f"Warmcast serves {url} from {settings.storage.data.resolve()}; its API is described at /docs."
        _Server(app, lambda: report(message)).run([listener])
    return {}


class _Server(uvicorn.Server):
    """A server that opens the application itself, so that an error of its start ends the command with its message."""

    def __init__(self, app: FastAPI, announce: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._app, self._announce = app, announce
        self._lifespan = AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application, accept connections and announce the address."""
        await self._lifespan.enter_async_context(self._app.router.lifespan_context(self._app))
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections, then the application."""
        await super().shutdown(sockets)
        await self._lifespan.aclose()


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; raises `ConfigurationError` if that is in use or not possible.

    Its connections send at once: a response in two small packets would otherwise wait 40 ms for the acknowledgement.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            remedy = "Stop the program that uses it, or choose another --port."
            raise ConfigurationError(f"Port {port} of {host} is in use. {remedy}") from error
        raise ConfigurationError(f"The service cannot listen on port {port} of {host}: {error.strerror}.") from error
    return listener


def _read_settings(data: Path | None) -> Settings:
    settings = Settings.read()
    return settings if data is None else settings.replace(data=data)


def _open_database(data: Path | None) -> Database:
    return open_installation(_read_settings(data).storage).database


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
