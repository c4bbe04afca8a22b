"""Fixed-step solvers of dx/dt = v(x, t) from t = 0 to t = 1.

A solver sees a vector field and a grid of times, and knows neither network nor path.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

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


SOLVERS: Mapping[str, Step] = MappingProxyType({"euler": euler_step, "midpoint": midpoint_step})


def evaluation_times(solver: str, times: NDArray[np.float64]) -> list[float]:
    """Return the flow times that `solve` evaluates the vector field at, as the same numbers, each once."""
    heard: list[float] = []

    def listen(x_t: Fields, t: float) -> Fields:
        heard.append(t)
        return x_t

    solve(solver, listen, torch.zeros(1, 1, 1, 1), times)
    return sorted(set(heard))


def solve(solver: str, field: VectorField, x_0: Fields, times: NDArray[np.float64]) -> Fields:
    """Return x_1, the state that `field` carries `x_0` to, stepping through `times` (ascending from 0 to 1)."""
    step = SOLVERS[solver]
    x_t = x_0
    for t, t_next in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x_t = step(field, x_t, t, t_next)
    return x_t
