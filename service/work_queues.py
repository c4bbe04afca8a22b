"""Queues of requests that need a process for long: the work of a few runs, a few wait, all others are refused."""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import anyio

from jobs.errors import LimitReachedError, LimitState
from service.child_processes import run_in_child
from service.problems import TOO_BUSY, ServiceError

_RETRY_SECONDS = 5
"""Least of the seconds after which a refused request may be repeated; the most is nearly the double."""

T = TypeVar("T")


class WorkQueue:
    """A number of places, each held by a request; the work of at most `at_once` of them runs at the same time.

    Owners share them equally. A request that finds no place is refused, unless another owner holds at least two places
    more than its own owner: then the last request of the owner with the most places is refused instead, if its work
    does not run yet. The next work to run is that of the owner with the least running work, in the order of arrival.
    """

    def __init__(self, name: str, *, at_once: int, max_waiting: int) -> None:
        self.name, self._at_once, self._num_places = name, at_once, at_once + max_waiting
        self._places: list[Place] = []

    @asynccontextmanager
    async def place(self, owner: str, at_most: int | None = None) -> AsyncIterator["Place"]:
        """Hold a place while the block runs; raise `ServiceError` (429) at once if there is none.

        If the place is given to a request of another owner, the block is cancelled, and the same error is raised. An
        owner may hold `at_most` places; else raises `LimitReachedError`.
        """
        held = sum(place.owner == owner for place in self._places)
        if at_most is not None and held >= at_most:
            raise LimitReachedError(
                f"This API key may send at most {at_most} requests with files at the same time. Repeat the request "
                "when one of them is answered.",
                LimitState("uploads", at_most, held),
            )
        if len(self._places) >= self._num_places:
            self._displace_for(owner)
        place = Place(self, owner)
        self._places.append(place)
        with place.scope:
            try:
                yield place
            finally:
                self._remove(place)
        if place.is_displaced:
            raise self._refusal()

    @property
    def num_running(self) -> int:
        """The number of requests whose work runs."""
        return sum(place.is_running for place in self._places)

    @property
    def num_waiting(self) -> int:
        """The number of requests that hold a place and whose work does not run yet."""
        return len(self._places) - self.num_running

    def start_next(self) -> None:
        """Start the work of the requests whose turn it is."""
        while self.num_running < self._at_once:
            running = Counter(place.owner for place in self._places if place.is_running)
            ready = [place for place in self._places if place.is_ready and not place.is_running]
            if not ready:
                return
            min(ready, key=lambda place: running[place.owner]).start()

    def _displace_for(self, owner: str) -> None:
        """Free a place for a request of `owner`; raise `ServiceError` if it gets none."""
        held = Counter(place.owner for place in self._places)
        most = max(held.values())
        if most > held[owner] + 1:
            for place in reversed(self._places):
                if held[place.owner] == most and not place.is_running:
                    self._places.remove(place)
                    place.displace()
                    return
        raise self._refusal()

    def _refusal(self) -> ServiceError:
        """Return the refusal of a request; after a time at random, so that refused clients do not return together."""
        seconds = _RETRY_SECONDS + secrets.randbelow(_RETRY_SECONDS)
        detail = f"The service is busy with {self._num_places} requests {self.name}. Repeat the request later."
        return ServiceError(replace(TOO_BUSY, retry_after=seconds), detail)

    def _remove(self, place: "Place") -> None:
        if not place.is_displaced:
            self._places.remove(place)
        self.start_next()


class Place:
    """The place of a request in a queue; the request is cancelled by `scope` if it loses the place."""

    def __init__(self, queue: WorkQueue, owner: str) -> None:
        self.owner, self.scope = owner, anyio.CancelScope()
        self.is_ready, self.is_displaced = False, False
        self._queue, self._started = queue, anyio.Event()

    @property
    def is_running(self) -> bool:
        """Whether the work of the request has started."""
        return self._started.is_set()

    async def run(self, call: Callable[[], T], seconds: float, folder: Path | None = None) -> T:
        """Return the result of `run_in_child`, which is called when it is the turn of the request."""
        await self.wait_for_turn()
        return await run_in_child(call, seconds, folder)

    async def wait_for_turn(self) -> None:
        """Wait until the work of the request may run; it may do so until the request gives up its place."""
        self.is_ready = True
        self._queue.start_next()
        await self._started.wait()

    def start(self) -> None:
        """Start the work of the request."""
        self._started.set()

    def displace(self) -> None:
        """Cancel the request, which has lost its place."""
        self.is_displaced = True
        self.scope.cancel()
