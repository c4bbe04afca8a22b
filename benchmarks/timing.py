"""How benchmarks take time: the shortest of several runs, after one that is not counted."""

import time
from collections.abc import Callable


def shortest_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest wall time of `work` in seconds."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
