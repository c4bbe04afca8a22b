"""The limits of API keys in the service: their defaults, and the uploads that a caller may send at the same time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread

from jobs.limits import Admission, default_limits, list_states, read_limits, read_usage
from jobs.settings import LimitSettings
from service.dependencies import Service
from service.rate_limits import rate_limit_headers
from service.work_queues import Place


def admission_of(settings: LimitSettings) -> Admission:
    """Return the rules by which forecasts are accepted."""
    return Admission(default_limits(settings), settings.max_open_forecasts, settings.max_states)


def read_rate_limit_headers(service: Service, owner: str, *, has_window: bool = True) -> dict[str, str]:
    """Return the fields `RateLimit…` for the limits of an owner as they are now; without an API key there are none.

    `has_window` is that of `rate_limit_headers`.
    """
    with service.database.read() as connection:
        limits = read_limits(connection, owner, default_limits(service.settings.limits))
        states = [] if limits is None else list_states(limits, read_usage(connection, owner))
    return rate_limit_headers(states, has_window=has_window)


async def uploads_allowed(service: Service, owner: str) -> int | None:
    """Return the number of uploads that an owner may send at the same time; None without a limit."""

    def read() -> int | None:
        with service.database.read() as connection:
            limits = read_limits(connection, owner, default_limits(service.settings.limits))
        return None if limits is None else limits.uploads

    return await to_thread.run_sync(read)


@asynccontextmanager
async def hold_upload_place(service: Service, owner: str) -> AsyncIterator[Place]:
    """Hold a place for a request with files while the block runs; raise the errors of `WorkQueue.place`."""
    async with service.queues.parsing.place(owner, await uploads_allowed(service, owner)) as place:
        yield place
