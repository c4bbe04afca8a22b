import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import closing
from typing import Any

import pytest

from service import batches
from service.batches import BatchReader
from service.problems import ServiceError


def _run(
    load: Callable[[Sequence[str]], Mapping[str, int]],
    use: Callable[[BatchReader[str, int]], Coroutine[Any, Any, None]],
) -> None:
    with closing(BatchReader(load, "test")) as reader:
        asyncio.run(use(reader))


def test_values_requested_at_the_same_time_are_read_together_and_each_key_once() -> None:
    calls: list[Sequence[str]] = []

    def load(keys: Sequence[str]) -> Mapping[str, int]:
        calls.append(keys)
        return {key: len(key) for key in keys if key != "none"}

    async def use(reader: BatchReader[str, int]) -> None:
        keys = ["a", "bb", "a", "none", "a"]
        assert await asyncio.gather(*map(reader.read, keys)) == [1, 2, 1, None, 1]
        assert await reader.read("bb") == 2

    _run(load, use)
    assert calls == [("a", "bb", "none"), ("bb",)]


def test_what_is_requested_during_a_read_is_read_after_it() -> None:
    entered, released, values = threading.Event(), threading.Event(), [1]

    def load(keys: Sequence[str]) -> Mapping[str, int]:
        found = dict.fromkeys(keys, values[-1])
        entered.set()
        assert released.wait(10)
        return found

    async def use(reader: BatchReader[str, int]) -> None:
        first = asyncio.create_task(reader.read("a"))
        assert await asyncio.to_thread(entered.wait, 10)
        values.append(2)
        second = asyncio.create_task(reader.read("a"))
        await asyncio.sleep(0.01)
        released.set()
        assert (await first, await second) == (1, 2)

    _run(load, use)


def test_an_error_reaches_all_requests_of_the_read_and_no_later_one() -> None:
    failures = [KeyError("gone")]

    def load(keys: Sequence[str]) -> Mapping[str, int]:
        if failures:
            raise failures.pop()
        return dict.fromkeys(keys, 1)

    async def use(reader: BatchReader[str, int]) -> None:
        results = await asyncio.gather(reader.read("a"), reader.read("b"), return_exceptions=True)
        assert [type(result) for result in results] == [KeyError, KeyError]
        assert await reader.read("a") == 1

    _run(load, use)


def test_a_read_that_hangs_fails_its_requests_and_later_ones_and_then_works_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "LIMIT_SECONDS", 0.05)
    released, calls = threading.Event(), []

    def load(keys: Sequence[str]) -> Mapping[str, int]:
        calls.append(keys)
        assert released.wait(10)
        return dict.fromkeys(keys, 1)

    async def use(reader: BatchReader[str, int]) -> None:
        for _ in range(3):
            with pytest.raises(ServiceError, match="did not answer within"):
                await reader.read("a")
        assert len(calls) == 1
        released.set()
        monkeypatch.setattr(batches, "LIMIT_SECONDS", 10.0)
        assert await reader.read("b") == 1

    _run(load, use)
    assert calls == [("a",), ("b",)]


def test_a_request_that_is_given_up_changes_nothing_for_the_others() -> None:
    released = threading.Event()

    def load(keys: Sequence[str]) -> Mapping[str, int]:
        assert released.wait(10)
        return dict.fromkeys(keys, 1)

    async def use(reader: BatchReader[str, int]) -> None:
        left, stayed = (asyncio.create_task(reader.read("a")) for _ in range(2))
        await asyncio.sleep(0.01)
        left.cancel()
        released.set()
        assert await stayed == 1
        assert left.cancelled()

    _run(load, use)


def test_values_are_kept_only_while_the_version_stays_from_before_their_read() -> None:
    version: list[int | None] = [1]
    changes: list[int | None] = []
    calls: list[Sequence[str]] = []

    def load(keys: Sequence[str]) -> Mapping[str, int]:
        calls.append(keys)
        version.extend(changes)
        changes.clear()
        return {key: len(calls) for key in keys if key != "none"}

    async def use(reader: BatchReader[str, int]) -> None:
        assert [await reader.read("a"), await reader.read("a")] == [1, 1]
        version.append(2)
        assert [await reader.read("a"), await reader.read("a")] == [2, 2]
        changes.append(3)
        assert [await reader.read("b"), await reader.read("b")] == [3, 4], "what changed during a read is read again"
        assert [await reader.read("none"), await reader.read("none")] == [None, None]
        assert [await reader.read("other"), await reader.read("other")] == [7, 8], "`may_keep` refuses it"
        version.append(None)
        assert [await reader.read("b"), await reader.read("b")] == [9, 10], "without a version nothing is kept"

    with closing(BatchReader(load, "test", lambda: version[-1], lambda key, _value: key != "other")) as reader:
        asyncio.run(use(reader))
