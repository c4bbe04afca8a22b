"""Fixed-step solvers of dx/dt = v(x, t) from t = 0 to t = 1.

A solver sees a vector field and a grid of times, and knows neither network nor path.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from weather.errors import ConfigurationError

Fields = Float[Tensor, "member channel lat lon"]


@runtime_checkable
class VectorField(Protocol):
    """A velocity for each state and flow time."""

    def __call__(self, x_t: Fields, t: float) -> Fields:
        """Return the velocity at `x_t` and flow time `t`, of the shape of `x_t`."""


Step = Callable[[VectorField, Fields, float, float], Fields]


def euler_step(field: VectorField, x_t: Fields, t: float, t_next: float) -> Fields:
    """Return the state at `t_next` by one evaluation at `t`."""
    return x_t + (t_next - t) * field(x_t, t)


def midpoint_step(field: VectorField, x_t: Fields, t: float, t_next: float) -> Fields:
    """Return the state at `t_next` by the velocity half-way, which Euler's half step leads to.

    Not Heun's method: neither end of the interval but its middle decides, so t = 1 is never evaluated.
    """
    half = (t_next - t) / 2
    return x_t + (t_next - t) * field(x_t + half * field(x_t, t), t + half)


@dataclass(frozen=True)
class Solver:
    """One step's rule and the number of evaluations that it takes."""

    step: Step
    nfe_per_step: int


SOLVERS: Mapping[str, Solver] = MappingProxyType({"euler": Solver(euler_step, 1), "midpoint": Solver(midpoint_step, 2)})


def steps_for(solver: str, nfe: int) -> int:
    """Return how many steps of `solver` take exactly `nfe` evaluations.

    Raises `ConfigurationError` for an unknown solver or a number that is no multiple of its evaluations a step.
    """
    if solver not in SOLVERS:
        raise ConfigurationError(f"`solver` must be one of {', '.join(SOLVERS)}. Got: {solver!r}.")
    per_step = SOLVERS[solver].nfe_per_step
    if nfe < 1 or nfe % per_step:
        raise ConfigurationError(
            f"`nfe` must be a positive multiple of {per_step} for the {solver} solver. Got: {nfe}."
        )
    return nfe // per_step


def solve(solver: str, field: VectorField, x_0: Fields, times: NDArray[np.float64]) -> Fields:
    """Return x_1, the state that `field` carries `x_0` to, stepping through `times` (ascending from 0 to 1)."""
    step = SOLVERS[solver].step
    x_t = x_0
    for t, t_next in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x_t = step(field, x_t, t, t_next)
    return x_t
