"""Carry out `warmcast serve`, `warmcast api` and `warmcast openapi`."""

import asyncio
import errno
import gc
import ipaddress
import json
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from jobs.logs import configure_logging
from jobs.settings import Settings
from service.app import create_app
from service.connections import Connections, allow_connections
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


def _serve(
    host: str,
    port: int,
    metrics_port: int | None,
    data: Path | None,
    report: Callable[[str], None],
    *,
    with_worker: bool,
) -> dict[str, Any]:
    settings = Settings.read(data)
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
