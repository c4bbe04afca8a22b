"""Reads from the database that many requests make at the same time, put together into few."""

import asyncio
import queue
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from service.problems import UNAVAILABLE, ServiceError

LIMIT_SECONDS = 10.0
"""Seconds after which a read counts as failed."""

_MAX_KEPT = 1000
"""Number of values that are kept, from which on no more are added."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BatchReader(Generic[K, V]):
    """Reads values by key in one thread of its own; what is requested during one call of `load` is read by the next.

    No value is older than its request, because `load` is called after it, or has been called since what it reads has
    changed last: as long as `version` returns the same number, values that `may_keep` allows are kept. While a call of
    `load` does not return, requests fail after 10 s each and hold no thread. `read` is called in one event loop only.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], Mapping[K, V]],
        name: str,
        version: Callable[[], int | None] = lambda: None,
        may_keep: Callable[[K, V], bool] = lambda _key, _value: True,
    ) -> None:
        self._load, self._version, self._may_keep = load, version, may_keep
        self._kept: dict[K, V] = {}
        self._kept_version: int | None = None
        self._next: _Batch[K, V] | None = None
        self._is_loading = False
        self._batches: queue.SimpleQueue[_Batch[K, V] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"read {name}", daemon=True)
        self._thread.start()

    async def read(self, key: K) -> V | None:
        """Return the value of a key, or None if `load` finds none.

        Raises what `load` raises, and `ServiceError` (503) if it does not return in time.
        """
        if (version := self._version()) is None or version != self._kept_version:
            self._kept, self._kept_version = {}, version
        if key in self._kept:
            return self._kept[key]
        if self._next is None:
            self._next = _Batch(asyncio.get_running_loop(), self._abandon)
            if not self._is_loading:
                self._is_loading = True
                self._next.loop.call_soon(self._start)  # after the other requests that have just arrived
        return await self._next.add(key)

    def close(self) -> None:
        """End the thread after its current call, and wait up to 10 s for it."""
        self._batches.put(None)
        self._thread.join(LIMIT_SECONDS)

    def _start(self) -> None:
        batch, self._next = self._next, None
        self._is_loading = batch is not None
        if batch is not None:
            batch.version = self._version()
            self._batches.put(batch)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            values: Mapping[K, V] = {}
            failure: Exception | None = None
            try:
                values = self._load(batch.keys())
            except Exception as error:
                failure = error
            with suppress(RuntimeError):  # the loop is closed
                batch.loop.call_soon_threadsafe(self._finish, batch, values, failure)

    def _finish(self, batch: "_Batch[K, V]", values: Mapping[K, V], failure: Exception | None) -> None:
        batch.end(values, failure)
        if batch.version is not None and batch.version == self._kept_version and len(self._kept) < _MAX_KEPT:
            self._kept.update((key, value) for key, value in values.items() if self._may_keep(key, value))
        self._start()

    def _abandon(self, batch: "_Batch[K, V]") -> None:
        batch.end({}, ServiceError(UNAVAILABLE, f"The database did not answer within {LIMIT_SECONDS:g} s. Try again."))
        if batch is self._next:
            self._next = None


class _Batch(Generic[K, V]):
    """The requests for values that are read by one call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, abandon: "Callable[[_Batch[K, V]], None]") -> None:
        self.loop = loop
        self.version: int | None = None
        self._futures: dict[K, list[asyncio.Future[V | None]]] = {}
        self._timer = loop.call_later(LIMIT_SECONDS, abandon, self)

    def add(self, key: K) -> "asyncio.Future[V | None]":
        """Return the future of the value of a key."""
        future: asyncio.Future[V | None] = self.loop.create_future()
        self._futures.setdefault(key, []).append(future)
        return future

    def keys(self) -> Sequence[K]:
        """Return the requested keys, each once."""
        return tuple(self._futures)

    def end(self, values: Mapping[K, V], failure: Exception | None) -> None:
        """Give each request that still waits its value, or the failure."""
        self._timer.cancel()
        for key, futures in self._futures.items():
            for future in futures:
                if not future.done():
                    if failure is None:
                        future.set_result(values.get(key))
                    else:
                        future.set_exception(failure)
