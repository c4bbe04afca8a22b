"""The autoregressive rollout: one lead time after another, each made from the two before it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.guards import RangeGuard
from models.noise import member_noise
from weather.manifest import ModelSpec

Fields = Float[Tensor, "member channel lat lon"]


@runtime_checkable
class Stepper(Protocol):
    """Carries states one time step ahead, as `Forecaster` does."""

    spec: ModelSpec
    device: torch.device

    def step(self, previous: Fields, newest: Fields, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after `newest`."""


def rollout(
    forecaster: Stepper,
    previous: Fields,
    newest: Fields,
    *,
    members: Sequence[int],
    seed: int,
    init_time: np.datetime64,
    first_step: int = 0,
    ahead: Executor | None = None,
) -> Iterator[Fields]:
    """Yield the states of `members` at lead time index `first_step`, `first_step` + 1, … without end.

    `previous` and `newest` are the two states before the first one yielded: the initial state's frames, or, to go on
    with a forecast, its two last lead times. All are float32 on the forecaster's device, in physical units. A member
    that is not finite or leaves the valid range is NaN from there on. `ahead` draws the noise of a step during the one
    before.
    """
    device, time_step = forecaster.device, forecaster.spec.time_step
    guard = RangeGuard(forecaster.spec.known_variables, device)
    shape = (newest.shape[1], newest.shape[2], newest.shape[3])
    draw = partial(_noise, seed, members, shape, pinned=device.type == "cuda")
    step = first_step
    drawn: Future[Fields] | None = None
    while True:
        noise = draw(step) if drawn is None else drawn.result()
        drawn = None if ahead is None else ahead.submit(draw, step + 1)
        states = forecaster.step(previous, newest, init_time + step * time_step, noise.to(device, non_blocking=True))
        previous, newest = newest, guard(states)
        yield newest
        step += 1


def _noise(seed: int, members: Sequence[int], shape: tuple[int, int, int], step: int, *, pinned: bool) -> Fields:
    noise = member_noise(seed, members, step, shape)
    return noise.pin_memory() if pinned else noise
