"""The noise of a forecast: a pure function of seed, initial time, member and step, equal on all devices and batches."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.shapes import Fields
from weather.manifest import ModelSpec, NoiseSpec

_WORD = 2**64


def white_noise(
    seed: int, init_time: np.datetime64, members: Sequence[int], step: int, shape: tuple[int, int, int]
) -> Fields:
    """Return standard normal noise, float32 on the CPU, of shape (member, *`shape`), independent for each step.

    Each member's noise is drawn from its own stream of a counter-based generator, so it does not depend on which
    other members are drawn, or in which order. `step` counts lead times from 0; of `init_time` whole seconds count.
    """
    seconds = int(init_time.astype("M8[s]").astype(np.int64)) % _WORD
    key = np.array([seed, seconds], np.uint64)
    noise = np.empty((len(members), *shape), np.float32)
    for row, member in enumerate(members):
        stream = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, member, step]))
        stream.standard_normal(dtype=np.float32, out=noise[row])
    return torch.from_numpy(noise)


def advance_noise(previous: Fields | None, white: Fields, correlation: float) -> Fields:
    """Return z_k = φ·z_{k−1} + √(1 − φ²)·ξ_k, standard normal if z_{k−1}, `previous`, and ξ_k, `white`, are.

    `previous` is None at the first step, whose noise is `white`. Each product and the sum are rounded once, so that
    an element has the same value in a batch of any size.
    """
    if previous is None or correlation == 0:
        return white
    return previous * correlation + white * math.sqrt(1 - correlation**2)


@dataclass(frozen=True)
class ForecastNoise:
    """The noise of all members of a forecast, for fields of `shape` (variable, latitude, longitude)."""

    spec: NoiseSpec
    time_step_hours: int
    shape: tuple[int, int, int]
    seed: int
    init_time: np.datetime64

    @classmethod
    def of(cls, model: ModelSpec, spec: NoiseSpec, *, seed: int, init_time: np.datetime64) -> "ForecastNoise":
        """Return the noise of a forecast of `model`, whose manifest has the noise `spec`."""
        lat, lon = model.grid.grid.shape
        return cls(spec, model.time_step_hours, (len(model.variables), lat, lon), seed, init_time)

    def draw(self, members: Sequence[int], first_step: int = 0) -> Iterator[Fields]:
        """Return the noise of `members` at `first_step` and all later steps, float32 on the CPU.

        It is scale · z_k of `advance_noise`, which starts at step 0 whatever the first step, so that nothing has to be
        stored for a forecast that is resumed.
        """
        noise = self._draw_white(members, first_step) if self.spec.is_white else self._correlate(members, first_step)
        return noise if self.spec.scale == 1 else (fields * self.spec.scale for fields in noise)

    def _draw_white(self, members: Sequence[int], first_step: int) -> Iterator[Fields]:
        """Yield white noise; nothing is kept between two steps."""
        steps = itertools.count(first_step)
        return (white_noise(self.seed, self.init_time, members, step, self.shape) for step in steps)

    def _correlate(self, members: Sequence[int], first_step: int) -> Iterator[Fields]:
        """Yield correlated noise; that of the last step is kept."""
        z = None
        for step, white in enumerate(self._draw_white(members, 0)):
            z = advance_noise(z, white, self.spec.correlation_at(step, self.time_step_hours))
            if step >= first_step:
                yield z
