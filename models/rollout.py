"""The autoregressive rollout: one lead time after another, each made from the two before it."""

import itertools
from collections.abc import Callable, Iterator, Sequence
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
    noise: Callable[[int], Fields] | None = None,
) -> Iterator[Fields]:
    """Yield the states of `members` at lead time index `first_step`, `first_step` + 1, … without end.

    `previous` and `newest` are the two states before the first one yielded: the initial state's frames, or, to go on
    with a forecast, its two last lead times. All are float32 on the forecaster's device, in physical units. A member
    that is not finite or leaves the valid range is NaN from there on. `noise` gives the `member_noise` of a step where
    it has been drawn before it is needed.
    """
    device, time_step = forecaster.device, forecaster.spec.time_step
    guard = RangeGuard(forecaster.spec.known_variables, device)
    shape = (newest.shape[1], newest.shape[2], newest.shape[3])
    draw = noise or partial(member_noise, seed, members, shape=shape)
    for step in itertools.count(first_step):
        noise_of_step = draw(step).to(device, non_blocking=True)
        states = guard(forecaster.step(previous, newest, init_time + step * time_step, noise_of_step))
        previous, newest = newest, states
        del noise_of_step, states  # while others step, this rollout holds two frames
        yield newest
