"""Threads that wait for the storage of forecasts, apart from those of the requests that do not."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

import anyio
from anyio import to_thread

READERS = anyio.CapacityLimiter(20)
"""Limits the threads that read files of forecasts; further requests wait without a thread."""
WRITERS = anyio.CapacityLimiter(4)
"""Limits the threads that write the files of a new forecast."""
FETCHERS = anyio.CapacityLimiter(6)
"""Limits the threads that wait for the origins of data sets."""
REMOVERS = anyio.CapacityLimiter(2)
"""Limits the threads that delete the files of a forecast."""

P = ParamSpec("P")
T = TypeVar("T")


def in_threads(limiter: anyio.CapacityLimiter) -> Callable[[Callable[P, T]], Callable[P, Awaitable[T]]]:
    """Run a function, such as a route, in the threads of a limiter instead of those that all routes share."""

    def decorate(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=limiter)

        return run

    return decorate


async def iterate_in_threads(blocks: Iterable[bytes], limiter: anyio.CapacityLimiter) -> AsyncIterator[bytes]:
    """Yield blocks, for each of which the iterator may wait, in the threads of a limiter."""
    iterator = iter(blocks)
    while (block := await to_thread.run_sync(next, iterator, None, limiter=limiter)) is not None:
        yield block
