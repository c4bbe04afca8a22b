"""How benchmarks take time: the shortest of several runs, after one that is not counted."""

import time
from collections.abc import Callable, Mapping


def shortest_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest wall time of `work` in seconds."""
    work()
    return min(_seconds(work) for _ in range(repeats))


def shortest_seconds_of_each(works: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Return the shortest wall time of each of `works` in seconds.

    They take turns, so that what else the machine does strikes them alike; at each turn a work runs once unmeasured,
    so that its memory is there already.
    """
    turns = [{name: shortest_seconds(work, 1) for name, work in works.items()} for _ in range(repeats)]
    return {name: min(turn[name] for turn in turns) for name in works}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
