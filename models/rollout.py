"""The autoregressive rollout: each lead time is computed from those before it, and lost members become NaN."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from models.colour import Colour
from models.forecaster import Forecaster
from models.shapes import Fields, Frames
from weather.manifest import ModelSpec


@runtime_checkable
class Stepper(Protocol):
    """Advances states by one time step, as `Forecaster` does."""

    spec: ModelSpec
    device: torch.device

    def step(self, frames: Frames, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after the newest of `frames` (newest first), whose time is `valid_time`.

        A member that is not finite or leaves the valid range is lost: its states are NaN.
        """


def rollout(
    stepper: Stepper, frames: Frames, noise: Iterable[Fields], *, init_time: np.datetime64, first_step: int = 0
) -> Iterator[Fields]:
    """Yield the states of members at lead time indices `first_step`, `first_step` + 1, …, as long as there is noise.

    `frames` are the states before the first one that is yielded, newest first, as many as the specification's
    `context_frames`: those of the initial state, or the last lead times of a forecast that is resumed. `noise` has the
    noise of these members from `first_step` on, as `ForecastNoise.draw` yields it. All states are float32 on the
    stepper's device, in physical units. A lost member is NaN from that lead time on. The noise of each step gets the
    colour of the stepper's specification.
    """
    context = deque(frames, maxlen=len(frames))
    colour = Colour(stepper.spec, stepper.device)
    newest_time = init_time + first_step * stepper.spec.time_step
    for step, noise_of_step in enumerate(noise, first_step):
        coloured = colour(noise_of_step.to(stepper.device, non_blocking=True), step)
        states = stepper.step(tuple(context), newest_time, coloured)
        context.appendleft(states)
        newest_time += stepper.spec.time_step
        del noise_of_step, coloured, states  # a suspended rollout holds the frames of its context and nothing else
        yield context[0]


def mean_rollout(forecaster: Forecaster, frames: Frames, *, init_time: np.datetime64) -> Iterator[Fields]:
    """Yield the mean of the warm start after each time step without end, each computed from those before it.

    `frames` are those of `rollout`. The flow is not evaluated, nothing is drawn, and no state is lost: the means, which
    are damped as states are, show whether the warm start alone is stable, also where they leave the valid range.
    """
    context = deque(frames, maxlen=len(frames))
    for step in itertools.count():
        mean, _ = forecaster.warm_start(tuple(context), init_time + step * forecaster.spec.time_step)
        context.appendleft(forecaster.damp(mean))
        yield context[0]
