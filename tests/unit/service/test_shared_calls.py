import asyncio

import pytest

from service.shared_calls import SharedCalls


class _Calls:
    """Calls that return their key after they are released, and are counted."""

    def __init__(self, max_size: int = 3) -> None:
        self.shared = SharedCalls[str](max_size, len)
        self.made, self.cancelled = list[str](), list[str]()
        self.release = asyncio.Event()
        self.fails = False

    def get(self, key: str) -> "asyncio.Task[str]":
        async def call() -> str:
            self.made.append(key)
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.append(key)
                raise
            if self.fails:
                raise ValueError(key)
            return key

        return asyncio.ensure_future(self.shared.get(key, call))


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_equal_calls_at_the_same_time_are_made_once_and_their_result_is_kept() -> None:
    async def run() -> list[str]:
        calls = _Calls()
        tasks = [calls.get("a") for _ in range(5)]
        await _settle()
        calls.release.set()
        assert await asyncio.gather(*tasks, calls.get("a")) == ["a"] * 6
        assert await calls.get("a") == "a"
        return calls.made

    assert asyncio.run(run()) == ["a"]


def test_an_error_reaches_all_that_wait_and_is_not_kept() -> None:
    async def run() -> list[str]:
        calls = _Calls()
        calls.fails = True
        calls.release.set()
        tasks = [calls.get("a") for _ in range(3)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [ValueError] * 3
        calls.fails = False
        assert await calls.get("a") == "a"
        return calls.made

    assert asyncio.run(run()) == ["a", "a"]


def test_a_call_is_cancelled_only_when_nothing_waits_for_it_any_more() -> None:
    async def run() -> _Calls:
        calls = _Calls()
        first, second = calls.get("a"), calls.get("a")
        await _settle()
        first.cancel()
        await _settle()
        assert calls.cancelled == []
        second.cancel()
        await _settle()
        assert calls.cancelled == ["a"]
        calls.release.set()
        assert await calls.get("a") == "a"
        return calls

    assert asyncio.run(run()).made == ["a", "a"]


def test_the_results_that_were_used_last_are_kept_up_to_the_size() -> None:
    async def run() -> list[str]:
        calls = _Calls(max_size=4)
        calls.release.set()
        for key in ("aa", "bb", "aa", "cc", "aa", "bb", "longer", "longer"):
            assert await calls.get(key) == key
        return calls.made

    assert asyncio.run(run()) == ["aa", "bb", "cc", "bb", "longer", "longer"]


def test_other_keys_are_other_calls() -> None:
    async def run() -> list[str]:
        calls = _Calls()
        calls.release.set()
        return [await task for task in (calls.get("a"), calls.get("b"))]

    assert asyncio.run(run()) == ["a", "b"]


@pytest.mark.parametrize("size", [0, 1])
def test_a_result_that_is_too_large_is_returned_and_not_kept(size: int) -> None:
    async def run() -> list[str]:
        calls = _Calls(max_size=size)
        calls.release.set()
        assert [await calls.get("aa"), await calls.get("aa")] == ["aa", "aa"]
        return calls.made

    assert asyncio.run(run()) == ["aa", "aa"]


def test_of_what_grows_only_the_newest_version_is_kept() -> None:
    async def run() -> None:
        shared, made = SharedCalls[str](10, len), list[int]()

        async def get(key: str, version: int) -> str:
            async def call() -> str:
                made.append(version)
                return f"{key}{version}"

            return await shared.get(key, call, version)

        assert [await get("other", 0), await get("a", 1), await get("a", 1)] == ["other0", "a1", "a1"]
        assert [await get("a", version) for version in (2, 3, 4, 4)] == ["a2", "a3", "a4", "a4"]
        assert await get("other", 0) == "other0", "the versions of one key have not displaced another one"
        assert await get("a", 3) == "a3"
        assert made == [0, 1, 2, 3, 4, 3]

    asyncio.run(run())
