"""Small helpers that tests of several packages share."""

import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from models.testing import tiny_spec
from weather.initial_state import InitialState


def wait_until(
    condition: Callable[[], object],
    seconds: float = 60,
    *,
    every: float = 0.02,
    ignoring: tuple[type[Exception], ...] = (),
    describe: Callable[[], object] = str,
) -> None:
    """Call `condition` at intervals of `every` seconds until it returns a true value.

    Raises `AssertionError` with a description after `seconds`. While `condition` raises an error that is to be
    ignored, it counts as false.
    """
    deadline = time.monotonic() + seconds
    while not _holds(condition, ignoring):
        assert time.monotonic() < deadline, f"still waiting after {seconds:g} s. {describe()}"
        time.sleep(every)


def _holds(condition: Callable[[], object], ignoring: tuple[type[Exception], ...]) -> bool:
    try:
        return bool(condition())
    except ignoring:
        return False


class _LazyModule(ModuleType):
    """A module that is loaded when an attribute of it is read, but for private ones: `pytest` looks for some of its own
    in everything that a test module contains.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)


def lazy_module(name: str) -> ModuleType:
    """Return a module that is loaded when an attribute of it is read: most test processes need no slow one."""
    return _LazyModule(name)


def random_state(analyses: int = 1, num_frames: int = 2) -> InitialState:
    """Return an initial state of normal noise of 5 m/s on the grid of the tiny checkpoint, at 2018-09-15 00 UTC."""
    draw = np.random.default_rng(0)
    shape = (analyses, 2, *tiny_spec().grid.grid.shape)
    frames = [draw.normal(0, 5, shape).astype(np.float32) for _ in range(num_frames)]
    return InitialState(np.datetime64("2018-09-15T00", "s"), tuple(frames[::-1]), ("random numbers",))
