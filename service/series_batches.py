"""Requests for time series of one forecast that wait at the same time: one child process answers them together."""

import asyncio
from collections.abc import Hashable
from functools import partial

import anyio

from service.child_calls import ForecastAddress
from service.positions import PositionQuery, answer_positions
from service.work_queues import WorkQueue
from storage.errors import WarmcastError

_MAX_PLACES = 100
"""Places of the requests of one batch, unless a single request has more."""
_MAX_SECONDS = 60.0
"""Seconds that the answers to a batch may take."""


class SeriesBatches:
    """Answers requests for time series; those of one state of a forecast that wait for their turn share one place."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._waiting: dict[Hashable, _Batch] = {}

    async def answer(self, owner: str, address: ForecastAddress, tag: str, query: PositionQuery) -> bytes:
        """Return the answer to a request; `tag` names the state of the forecast.

        Raises the errors of `answer_positions` for this request, and those of the queue and of the child process.
        """
        key = (asyncio.get_running_loop(), address, tag)
        batch = self._waiting.get(key)
        if batch is None or not batch.has_room(query):
            batch = self._waiting[key] = _Batch()
            batch.task = asyncio.ensure_future(self._run(key, owner, address, batch))
        answer = await batch.answer(query)
        if isinstance(answer, WarmcastError):
            raise answer
        return answer

    async def _run(self, key: Hashable, owner: str, address: ForecastAddress, batch: "_Batch") -> None:
        """Wait for the turn of a batch, which from then on takes no more requests, and compute its answers."""
        try:
            async with self._queue.place(owner) as place:
                await place.wait_for_turn()
                queries = self._close(key, batch)
                batch.end(await place.run(partial(answer_positions, address, queries), _MAX_SECONDS))
        except Exception as error:
            batch.fail(error)
        finally:
            self._close(key, batch)

    def _close(self, key: Hashable, batch: "_Batch") -> list[PositionQuery]:
        if self._waiting.get(key) is batch:
            del self._waiting[key]
        return batch.close()


class _Batch:
    """Requests that are answered together; the work is cancelled once nobody waits for an answer any more."""

    task: "asyncio.Task[None]"

    def __init__(self) -> None:
        self._requests: list[tuple[PositionQuery, asyncio.Future[bytes | WarmcastError]]] = []
        self._is_open = True

    def has_room(self, query: PositionQuery) -> bool:
        """Return whether a request may join."""
        places = sum(len(each.places) for each, _ in self._requests)
        return self._is_open and places + len(query.places) <= _MAX_PLACES

    async def answer(self, query: PositionQuery) -> bytes | WarmcastError:
        """Add a request and wait for its answer."""
        future: asyncio.Future[bytes | WarmcastError] = asyncio.get_running_loop().create_future()
        self._requests.append((query, future))
        try:
            return await future
        finally:
            if self._is_open:
                self._requests.remove((query, future))
            if not self.task.done() and all(other.done() for _, other in self._requests):
                self.task.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.gather(self.task, return_exceptions=True)

    def close(self) -> list[PositionQuery]:
        """Take no more requests, and return those that wait for an answer."""
        self._is_open = False
        return [query for query, _ in self._requests]

    def end(self, answers: list[bytes | WarmcastError]) -> None:
        """Give each request its answer."""
        for (_, future), answer in zip(self._requests, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Give each request the error."""
        for _, future in self._requests:
            if not future.done():
                future.set_exception(error)
