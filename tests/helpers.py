"""Small helpers that tests of several packages share."""

import time
from collections.abc import Callable

import numpy as np

from models.testing import tiny_spec
from weather.initial_state import InitialState


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `condition` returns a true value; raises `AssertionError` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still waiting after {seconds:g} s"
        time.sleep(0.02)


def random_state(analyses: int = 1) -> InitialState:
    """Return an initial state of normal noise of 5 m/s on the grid of the tiny checkpoint, at 2018-09-15 00 UTC."""
    draw = np.random.default_rng(0)
    shape = (analyses, 2, *tiny_spec().grid.grid.shape)
    previous, newest = (draw.normal(0, 5, shape).astype(np.float32) for _ in range(2))
    return InitialState(np.datetime64("2018-09-15T00", "s"), previous, newest, ("random numbers",))
