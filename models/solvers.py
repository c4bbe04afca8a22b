"""Fixed-step solvers of dx/dt = v(x, t) from t = 0 to t = 1, and the grids of flow time on which they step.

A solver depends on a vector field and a grid of times only, not on a network or a path.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.shapes import Fields
from storage.errors import ConfigurationError


@runtime_checkable
class VectorField(Protocol):
    """A velocity for each state and flow time."""

    def __call__(self, x_t: Fields, t: float) -> Fields:
        """Return the velocity at `x_t` and flow time `t`, of the shape of `x_t`."""


Step = Callable[[VectorField, Fields, float, float], Fields]


@dataclass(frozen=True)
class Solver:
    """One step of a method, and the times at which that step evaluates the vector field.

    The evaluations are at t + offset·(t_next − t) for each of `offsets`.
    """

    step: Step
    offsets: tuple[float, ...]


def euler_step(field: VectorField, x_t: Fields, t: float, t_next: float) -> Fields:
    """Return the state at `t_next` by one evaluation at `t`."""
    return x_t + (t_next - t) * field(x_t, t)


def midpoint_step(field: VectorField, x_t: Fields, t: float, t_next: float) -> Fields:
    """Return the state at `t_next` by the velocity in the middle of the interval, which half an Euler step reaches.

    Not Heun's method: the velocity is not averaged over both ends of the interval, so t = 1 is never evaluated.
    """
    half = (t_next - t) / 2
    return x_t + (t_next - t) * field(x_t + half * field(x_t, t), t + half)


def single_step(field: VectorField, x_t: Fields, t: float, t_next: float) -> Fields:
    """Return x_1 = x_0 + v(x_0/2, ½): the midpoint step from 0 to 1 whose first evaluation is taken as known.

    At t = 0 the velocity towards any target of mean zero is −x_0: half an Euler step reaches x_0/2. It is known there
    only, so that there is no such step from another time. Not an Euler step, which would return the mean.
    """
    assert (t, t_next) == (0, 1), "the solver `single` makes one step"
    return x_t + field(x_t / 2, 0.5)


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {
        "euler": Solver(euler_step, (0.0,)),
        "midpoint": Solver(midpoint_step, (0.0, 0.5)),
        "single": Solver(single_step, (0.5,)),
    }
)


def evaluation_times(solver: str, times: NDArray[np.float64]) -> list[float]:
    """Return the flow times at which `solve` evaluates the vector field: exactly these floats, ascending, each once."""
    steps = zip(times[:-1].tolist(), times[1:].tolist(), strict=True)
    return sorted({t + offset * (t_next - t) for t, t_next in steps for offset in SOLVERS[solver].offsets})


def solve(solver: str, field: VectorField, x_0: Fields, times: NDArray[np.float64]) -> Fields:
    """Return x_1, the state that `field` carries `x_0` to, stepping through `times` (ascending from 0 to 1)."""
    step = SOLVERS[solver].step
    x_t = x_0
    for t, t_next in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x_t = step(field, x_t, t, t_next)
    return x_t


def power_grid(num_steps: int, power: float = 1.0) -> NDArray[np.float64]:
    """Return `num_steps` + 1 flow times 1 − (1 − i/N)^p, finer towards the data for p > 1; p = 1 is uniform.

    Raises `ConfigurationError` for fewer than one step or a power that is not positive. Source: docs/method.md §5.
    """
    if num_steps < 1:
        raise ConfigurationError(f"`num_steps` must be at least 1. Got: {num_steps}.")
    if not power > 0:
        raise ConfigurationError(f"`power` of the time grid must be positive. Got: {power}.")
    return np.asarray(1.0 - (1.0 - np.arange(num_steps + 1) / num_steps) ** power)
