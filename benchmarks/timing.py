"""How benchmarks take time: the shortest of several runs, after one that is not counted."""

import time
from collections.abc import Callable, Mapping


def shortest_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest wall time of `work` in seconds."""
    return shortest_seconds_of_each({"": work}, repeats)[""]


def shortest_seconds_of_each(works: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Return the shortest wall time of each of `works` in seconds.

    They take turns, so that what else the machine does strikes them alike.
    """
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    return {name: min(taken) for name, taken in times.items()}
