"""Run work of requests in child processes, so that it takes neither CPU nor the interpreter's lock from the API."""

import asyncio
import logging
import math
import pickle
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import BrokenWorkerProcess, to_process
from fastapi import Request

from service.low_priority import call_at_low_priority
from service.problems import CLIENT_LEFT, TOO_SLOW, UNAVAILABLE, ServiceError

T = TypeVar("T")

_log = logging.getLogger(__name__)

_UNLIMITED = anyio.CapacityLimiter(math.inf)
"""The queues limit the number of processes."""


async def run_in_child(call: Callable[[], T], seconds: float, folder: Path | None = None) -> T:
    """Return the result of `call`, made by a child process at low priority; it and its result can be pickled.

    The process is kept for the next call. It is killed when this task is cancelled, or after `seconds`, and replaced
    when it has died. Temporary files of the call are in `folder`, by default in that of this process. Raises the errors
    of `call`, whose notes are logged, and `ServiceError` if the process dies or takes too long.
    """
    work, temporary = pickle.dumps(call), str(folder or tempfile.gettempdir())
    try:
        with anyio.move_on_after(seconds):
            result: T = await to_process.run_sync(
                call_at_low_priority, work, temporary, cancellable=True, limiter=_UNLIMITED
            )
            return result
    except BrokenWorkerProcess as error:
        raise ServiceError(UNAVAILABLE, "The process that carried out the request has ended. Try again.") from error
    except Exception as error:
        for note in getattr(error, "__notes__", ()):
            _log.warning("%s", note)
        raise
    raise ServiceError(TOO_SLOW, f"The request took more than {seconds:g} s. Request less at a time.")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, which is cancelled if the client closes the connection before it is done.

    The body of the request must have been read. Raises `ServiceError` if the client has left.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ServiceError(CLIENT_LEFT, "The client has closed the connection.")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(working, leaving, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
