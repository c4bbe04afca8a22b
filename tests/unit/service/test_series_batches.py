"""Requests for time series that one child process answers together."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from service.child_calls import ForecastAddress
from service.positions import PositionQuery
from service.problems import ServiceError
from service.series_batches import SeriesBatches
from service.work_queues import Place, WorkQueue
from storage.errors import ConfigurationError
from weather import places
from weather.times import Interval

ADDRESS = ForecastAddress(Path("data"), None, "fc_1", cast(Any, None))


def _query(number: int, num_places: int = 1) -> PositionQuery:
    points = tuple(places.Place(0.0, float(number)) for _ in range(num_places))
    return PositionQuery(
        places=points,
        interpolation="bilinear",
        names=(),
        units="ms",
        statistics=False,
        probabilities=(),
        exceedance="",
        times=Interval.parse("../.."),
        form="json",
    )


class Child:
    """Answers batches with the number of each request, once it is released; refuses odd numbers from 100 on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[int]] = []
        self.released, self.cancelled = asyncio.Event(), 0
        monkeypatch.setattr(Place, "run", lambda _place, call, _seconds: self._run(call))

    async def _run(self, call: Any) -> list[Any]:
        _, queries = cast("tuple[ForecastAddress, Sequence[PositionQuery]]", call.args)
        numbers = [int(query.places[0].longitude) for query in queries]
        self.batches.append(numbers)
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [ConfigurationError(f"no {n}") if n >= 100 else str(n).encode() for n in numbers]


async def _start(
    batches: SeriesBatches, numbers: Sequence[int], tag: str = "1", num_places: int = 1
) -> list["asyncio.Task[bytes]"]:
    tasks = []
    for number in numbers:
        tasks.append(asyncio.ensure_future(batches.answer("local", ADDRESS, tag, _query(number, num_places))))
        await asyncio.sleep(0.001)
    return tasks


def test_requests_that_wait_share_a_batch_by_state_of_the_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        child, batches = Child(monkeypatch), SeriesBatches(WorkQueue("for values", at_once=1, max_waiting=9))
        tasks = await _start(batches, [0, 1, 2, 101]) + await _start(batches, [3, 4], tag="2")
        child.released.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert child.batches == [[0], [1, 2, 101], [3, 4]]
        assert [str(answer) for answer in answers] == ["b'0'", "b'1'", "b'2'", "no 101", "b'3'", "b'4'"]

    asyncio.run(run())


def test_a_batch_has_at_most_a_hundred_places_and_a_full_queue_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        child, batches = Child(monkeypatch), SeriesBatches(WorkQueue("for values", at_once=1, max_waiting=1))
        tasks = await _start(batches, range(8), num_places=20)
        child.released.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert child.batches == [[0], [1, 2, 3, 4, 5]]
        assert [isinstance(answer, ServiceError) for answer in answers] == [False] * 6 + [True] * 2

    asyncio.run(run())


def test_a_request_that_is_cancelled_leaves_its_batch_and_the_last_one_ends_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        child, queue = Child(monkeypatch), WorkQueue("for values", at_once=1, max_waiting=9)
        batches = SeriesBatches(queue)
        first, second, third = await _start(batches, [0, 1, 2])
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert child.cancelled == 1
        await asyncio.sleep(0.01)
        assert child.batches == [[0], [2]]
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        assert (child.cancelled, queue.num_running, queue.num_waiting) == (2, 0, 0)

    asyncio.run(run())
