"""Results that several threads use, kept while there is space."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class KeptResults(Generic[T]):
    """The results that were used last, of at most `max_size` together, by key; `size_of` returns the size of one."""

    def __init__(self, max_size: int, size_of: Callable[[T], int]) -> None:
        self._max_size, self._size_of = max_size, size_of
        self._lock, self._results = threading.Lock(), OrderedDict[Hashable, T]()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the kept result of a key, or that of `make`; several threads may make it at once."""
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        result = make()
        with self._lock:
            self._results[key] = result
            while len(self._results) > 1 and sum(map(self._size_of, self._results.values())) > self._max_size:
                self._results.popitem(last=False)
        return result

    def clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._results.clear()
