import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from service.problems import TOO_BUSY, ServiceError
from service.work_queues import Place, WorkQueue
from tests.unit.service import work


@pytest.fixture(autouse=True)
def threads() -> None:
    """Run the work of queues in child processes, as the service does."""


def _queue(at_once: int = 1, max_waiting: int = 2) -> WorkQueue:
    return WorkQueue("with files", at_once=at_once, max_waiting=max_waiting)


class _Requests:
    """Requests that hold places of a queue until they are ended; their work is that of this process."""

    def __init__(self, queue: WorkQueue) -> None:
        self.queue, self.started, self.refused = queue, list[str](), list[str]()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def arrive(self, *names: str, waits: bool = True) -> None:
        """Let requests arrive; a name is that of the owner and a number. Without `waits` they receive their bodies."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.ensure_future(self._run(name, waits=waits))
            await _settle()

    async def end(self, *names: str) -> None:
        """Let the work of requests end, one after the other."""
        for name in names:
            self._ends[name].set()
            await _settle()

    async def leave(self, *names: str) -> None:
        """Cancel requests, as when their clients leave."""
        for name in names:
            self._tasks[name].cancel()
            await _settle()

    async def _run(self, name: str, *, waits: bool) -> None:
        try:
            async with self.queue.place(name[0]) as place:
                if waits:
                    await place.wait_for_turn()
                    self.started.append(name)
                await self._ends[name].wait()
        except ServiceError as error:
            self.refused.append(name if error.kind.slug == TOO_BUSY.slug else str(error))


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def _run(scenario: Callable[[_Requests], Awaitable[None]], queue: WorkQueue) -> _Requests:
    async def run() -> _Requests:
        requests = _Requests(queue)
        await scenario(requests)
        return requests

    return asyncio.run(run())


def test_a_request_that_finds_no_place_is_refused_at_once() -> None:
    async def scenario(requests: _Requests) -> None:
        await requests.arrive("a1", "a2", "a3", "a4", "a5")
        assert (requests.queue.num_running, requests.queue.num_waiting) == (2, 2)
        await requests.end("a1", "a2", "a3", "a4")
        await requests.arrive("a6")
        await requests.end("a6")

    requests = _run(scenario, _queue(at_once=2, max_waiting=2))
    assert (requests.started, requests.refused) == (["a1", "a2", "a3", "a4", "a6"], ["a5"])
    assert (requests.queue.num_running, requests.queue.num_waiting) == (0, 0)


def test_requests_that_receive_their_bodies_hold_places_but_delay_no_work() -> None:
    async def scenario(requests: _Requests) -> None:
        await requests.arrive("a1", "a2", waits=False)
        await requests.arrive("a3", "a4")
        await requests.leave("a1")
        await requests.arrive("a5")
        assert (requests.queue.num_running, requests.queue.num_waiting) == (1, 2)

    requests = _run(scenario, _queue())
    assert (requests.started, requests.refused) == (["a3"], ["a4"])


def test_a_request_whose_client_leaves_gives_its_place_to_others_and_is_not_started() -> None:
    async def scenario(requests: _Requests) -> None:
        await requests.arrive("a1", "a2", "a3")
        await requests.leave("a2", "a1")
        await requests.arrive("a4")

    requests = _run(scenario, _queue())
    assert (requests.started, requests.refused) == (["a1", "a3"], [])


def test_the_last_request_of_the_owner_with_most_places_makes_room_for_another_owner() -> None:
    async def scenario(requests: _Requests) -> None:
        await requests.arrive(*(f"a{index}" for index in range(6)), "b0", "b1", "b2", "b3", "c0", "a6")

    requests = _run(scenario, _queue(at_once=1, max_waiting=5))
    assert requests.refused == ["a5", "a4", "a3", "b3", "b2", "a6"]


def test_work_that_runs_is_not_stopped_for_another_owner() -> None:
    async def scenario(requests: _Requests) -> None:
        await requests.arrive("a0", "a1", "a2", "b0")

    requests = _run(scenario, _queue(at_once=3, max_waiting=0))
    assert (requests.started, requests.refused) == (["a0", "a1", "a2"], ["b0"])


def test_owners_take_turns() -> None:
    async def scenario(requests: _Requests) -> None:
        await requests.arrive("a0", "a1", "a2", "a3", "b0", "b1")
        await requests.end("a0", "a1", "b0", "a2", "b1", "a3")

    requests = _run(scenario, _queue(at_once=2, max_waiting=10))
    assert requests.started == ["a0", "a1", "b0", "a2", "b1", "a3"]


async def _work(place: Place) -> tuple[int, float, float]:
    return await place.run(partial(work.measure, 0.1), 30)


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_work_of_requests_runs_in_as_many_processes_as_may_work_at_once(at_once: int) -> None:
    async def request(queue: WorkQueue) -> tuple[int, float, float]:
        async with queue.place("a") as place:
            return await _work(place)

    async def run() -> list[tuple[int, float, float]]:
        queue = _queue(at_once, max_waiting=6)
        return await asyncio.gather(*(request(queue) for _ in range(4)))

    calls = asyncio.run(run())
    assert len({pid for pid, _, _ in calls} - {os.getpid()}) == at_once
    for _, began, _ in calls:
        assert sum(other <= began < ended for _, other, ended in calls) <= at_once
