"""Carry out `warmcast serve`, `warmcast api`, `warmcast openapi` and `warmcast key`."""

import asyncio
import errno
import gc
import ipaddress
import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import uvicorn
from fastapi import FastAPI

from jobs.audit import COMMAND_LINE, acting_as, list_audit
from jobs.installation import open_installation
from jobs.keys import create_key, limit_key, list_keys, revoke_key, rotate_key
from jobs.limits import list_states, read_usage, with_own
from jobs.logs import configure_logging
from jobs.rows.database import Database
from jobs.rows.states import Role
from jobs.settings import Settings
from jobs.validity import parse_past
from service.app import create_app
from service.connections import Connections, allow_connections
from service.limits import default_limits
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


def create_api_key(
    *,
    name: str,
    limits: Mapping[str, int | None] | None = None,
    role: Literal["reader", "submitter", "operator"] = "submitter",
    of: str | None = None,
    expires: str | None = None,
    data: Path | None,
) -> dict[str, Any]:
    """Create an API key; only the returned receipt contains its secret. Limits that are None are the settings'.

    `of` is the owner whose forecasts a reader reads; `expires` is a duration such as `90d`, or a time.
    """
    database = _open_database(data)
    with acting_as(COMMAND_LINE), database.write() as connection:
        key, secret = create_key(connection, name, limits, role=Role(role), of=of, expires=expires)
    database.close()
    return asdict(key) | {"secret": secret}


def rotate_api_key(*, key_id: str, overlap: str, expires: str | None, data: Path | None) -> dict[str, Any]:
    """Give a key a new secret, which only the returned receipt contains; the one until now is valid for `overlap`."""
    database = _open_database(data)
    with acting_as(COMMAND_LINE), database.write() as connection:
        key, secret = rotate_key(connection, key_id, overlap, expires)
    database.close()
    return asdict(key) | {"secret": secret}


def limit_api_key(*, key_id: str, limits: Mapping[str, int | None], data: Path | None) -> dict[str, Any]:
    """Set limits of a key, None to the settings' value, and return the key as `list_api_keys` does."""
    database = _open_database(data)
    with acting_as(COMMAND_LINE), database.write() as connection:
        limit_key(connection, key_id, limits)
    database.close()
    return next(key for key in list_api_keys(data=data)["keys"] if key["id"] == key_id)


def list_api_keys(*, data: Path | None) -> dict[str, Any]:
    """Return all keys without their secrets, with their limits and how much of them is used.

    `limits` of a key holds its own; `used` of those in `in_force` is None where nothing is counted.
    """
    database, defaults = _open_database(data), default_limits(_read_settings(data).limits)
    with database.read() as connection:
        keys = []
        for key in list_keys(connection):
            limits = with_own(defaults, key.limits)
            states = list_states(limits, read_usage(connection, key.id))
            in_force = {state.name: {"value": state.value, "used": state.used} for state in states}
            keys.append(asdict(key) | {"in_force": in_force, "high_priority": limits.high_priority})
    database.close()
    return {"keys": keys}


def revoke_api_key(*, key_id: str, data: Path | None) -> dict[str, Any]:
    """Revoke a key."""
    database = _open_database(data)
    with acting_as(COMMAND_LINE):
        database.write_at_any_cost(partial(revoke_key, key_id=key_id))
    database.close()
    return {"id": key_id}


def show_audit(*, since: str | None, key: str | None, limit: int, data: Path | None) -> dict[str, Any]:
    """Return the newest entries of the audit log; `since` is a time, or a duration before now."""
    database = _open_database(data)
    with database.read() as connection:
        start = None if since is None else parse_past(since, time.time())
        entries = [asdict(entry) for entry in list_audit(connection, limit, since=start, actor=key)]
    database.close()
    return {"entries": entries}


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
    app = create_app(
        settings,
        only_loopback=_is_loopback(host),
        with_worker=with_worker,
        metrics_port=metrics_port,
        metrics_host=host,
    )
    with _listen(host, port) as listener, suppress(KeyboardInterrupt):  # the server has stopped by then
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        message = f"Warmcast serves {url} from {settings.storage.data.resolve()}; open that address in a browser."
        _Server(app, lambda: report(message)).run([listener])
    return {}


class _Server(uvicorn.Server):
    """A server that opens the application itself, so that an error of its start ends the command with its message."""

    def __init__(self, app: FastAPI, announce: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=cast(type[asyncio.Protocol], Connections(allow_connections()).open),
                ws="none",
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
        """Open the application, accept connections and announce the address.

        From then on the garbage collector passes over what exists already; else each of its full runs would delay all
        requests by a quarter of a second.
        """
        await self._lifespan.enter_async_context(self._app.router.lifespan_context(self._app))
        gc.collect()
        gc.freeze()
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
