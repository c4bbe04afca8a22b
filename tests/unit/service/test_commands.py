import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from service.commands import _listen, _Server
from storage.errors import ConfigurationError, DataDirectoryError


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with _listen("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"Port {port} of 127\.0\.0\.1 is in use\. Stop the program"):
            _listen("127.0.0.1", port)


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
