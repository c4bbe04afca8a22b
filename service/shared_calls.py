"""Results that several requests need: computed once for all that wait, and kept while there is space."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import anyio

T = TypeVar("T")


class SharedCalls(Generic[T]):
    """The newest results of at most `max_size` together, by key; `size_of` returns the size of one.

    Of each key only the version that was computed last is kept, so that what grows does not fill the space by itself.
    """

    def __init__(self, max_size: int, size_of: Callable[[T], int]) -> None:
        self._max_size, self._size_of = max_size, size_of
        self._results: OrderedDict[Hashable, tuple[Hashable, T]] = OrderedDict()
        self._size = 0
        self._calls: dict[Hashable, _Call[T]] = {}

    async def get(self, key: Hashable, call: Callable[[], Coroutine[Any, Any, T]], version: Hashable = None) -> T:
        """Return the result of `call`: a kept one, that of an equal call that is being made, or a new one.

        A kept result must be of the same `version`. The call is cancelled once all tasks that wait for it are. Its
        error is raised in all of them, and not kept.
        """
        kept = self._results.get(key)
        if kept is not None and kept[0] == version:
            self._results.move_to_end(key)
            return kept[1]
        name = key, version
        shared = self._calls.get(name)
        if shared is None or shared.task.get_loop() is not asyncio.get_running_loop():
            shared = self._calls[name] = _Call(asyncio.ensure_future(self._make(key, version, call)))
        shared.num_waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.num_waiting -= 1
            if not shared.num_waiting and not shared.task.done():
                if self._calls.get(name) is shared:
                    del self._calls[name]
                shared.task.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.gather(shared.task, return_exceptions=True)

    async def _make(self, key: Hashable, version: Hashable, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task, name = asyncio.current_task(), (key, version)
        try:
            result = await call()
        finally:
            if name in self._calls and self._calls[name].task is task:
                del self._calls[name]
        self._keep(key, version, result)
        return result

    def _keep(self, key: Hashable, version: Hashable, result: T) -> None:
        kept = self._results.pop(key, None)
        if kept is not None:
            self._size -= self._size_of(kept[1])
        self._results[key] = version, result
        self._size += self._size_of(result)
        while self._size > self._max_size:
            _, (_, oldest) = self._results.popitem(last=False)
            self._size -= self._size_of(oldest)


class _Call(Generic[T]):
    """A call that is being made, and the number of tasks that wait for it."""

    def __init__(self, task: "asyncio.Task[T]") -> None:
        self.task, self.num_waiting = task, 0
