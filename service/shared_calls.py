"""Results that several requests need: computed once for all that wait, and kept while there is space."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import anyio

T = TypeVar("T")


class SharedCalls(Generic[T]):
    """The newest results of at most `max_size` together, by key; `size_of` returns the size of one."""

    def __init__(self, max_size: int, size_of: Callable[[T], int]) -> None:
        self._max_size, self._size_of = max_size, size_of
        self._results: OrderedDict[Hashable, T] = OrderedDict()
        self._size = 0
        self._calls: dict[Hashable, _Call[T]] = {}

    async def get(self, key: Hashable, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `call`: a kept one, that of an equal call that is being made, or a new one.

        The call is cancelled once all tasks that wait for it are. Its error is raised in all of them, and not kept.
        """
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        shared = self._calls.get(key)
        if shared is None or shared.task.get_loop() is not asyncio.get_running_loop():
            shared = self._calls[key] = _Call(asyncio.ensure_future(self._make(key, call)))
        shared.num_waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.num_waiting -= 1
            if not shared.num_waiting and not shared.task.done():
                if self._calls.get(key) is shared:
                    del self._calls[key]
                shared.task.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.gather(shared.task, return_exceptions=True)

    async def _make(self, key: Hashable, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        try:
            result = await call()
        finally:
            if key in self._calls and self._calls[key].task is task:
                del self._calls[key]
        self._keep(key, result)
        return result

    def _keep(self, key: Hashable, result: T) -> None:
        if key in self._results:
            return
        self._results[key] = result
        self._size += self._size_of(result)
        while self._size > self._max_size:
            _, oldest = self._results.popitem(last=False)
            self._size -= self._size_of(oldest)


class _Call(Generic[T]):
    """A call that is being made, and the number of tasks that wait for it."""

    def __init__(self, task: "asyncio.Task[T]") -> None:
        self.task, self.num_waiting = task, 0
