"""The noise of a forecast: a pure function of seed, initial time, member and step, equal on all devices and batches.

All bits of it are the same, whatever group, batch or thread draws it: each element is one draw of a member's own
stream, followed by products and sums that are each rounded once, without fused operations.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.shapes import Fields
from weather.manifest import ModelSpec, NoiseSpec

Noise = TypeVar("Noise", Tensor, NDArray[np.float32])

_WORD = 2**64
_BLOCK_BYTES = 2**19
"""Bytes of the noise that is advanced at once, which a processor's cache holds."""


def white_noise(
    seed: int,
    init_time: np.datetime64,
    members: Sequence[int],
    step: int,
    shape: tuple[int, int, int],
    out: NDArray[np.float32] | None = None,
) -> Fields:
    """Return standard normal noise, float32 on the CPU, of shape (member, *`shape`), independent for each step.

    Each member's noise is drawn from its own stream of a counter-based generator, so it does not depend on which
    other members are drawn, or in which order. `step` counts lead times from 0; of `init_time` whole seconds count.
    It is drawn into `out`, of the same shape, if that is given. Other threads run while it is drawn.
    """
    seconds = int(init_time.astype("M8[s]").astype(np.int64)) % _WORD
    generator = np.random.Philox(key=np.array([seed, seconds], np.uint64))
    stream, state = np.random.Generator(generator), generator.state
    noise = np.empty((len(members), *shape), np.float32) if out is None else out
    for row, member in enumerate(members):
        state["state"]["counter"][:] = 0, 0, member, step
        generator.state = state
        stream.standard_normal(dtype=np.float32, out=noise[row])
    return torch.from_numpy(noise)


def advance_noise(previous: Noise | None, white: Noise, correlation: float) -> Noise:
    """Return z_k = φ·z_{k−1} + √(1 − φ²)·ξ_k, standard normal if z_{k−1}, `previous`, and ξ_k, `white`, are.

    `previous` is None at the first step, whose noise is `white`. Each product and the sum are rounded once, so that
    an element has the same value in a batch of any size, as a tensor and as an array.
    """
    if previous is None or correlation == 0:
        return white
    return previous * correlation + white * math.sqrt(1 - correlation**2)


@dataclass(frozen=True)
class ForecastNoise:
    """The noise of all members of a forecast, for fields of `shape` (variable, latitude, longitude).

    A scale by variable needs the names of the `variables`, in the order of the channels.
    """

    spec: NoiseSpec
    time_step_hours: int
    shape: tuple[int, int, int]
    seed: int
    init_time: np.datetime64
    variables: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: ModelSpec, spec: NoiseSpec, *, seed: int, init_time: np.datetime64) -> "ForecastNoise":
        """Return the noise of a forecast of `model`, whose manifest has the noise `spec`."""
        lat, lon = model.grid.grid.shape
        names = model.variable_names
        return cls(spec, model.time_step_hours, (len(names), lat, lon), seed, init_time, names)

    @property
    def scales(self) -> tuple[float, ...]:
        """The factor on the noise of each variable; raises `ValueError` if the scale is not one of the variables."""
        return self.spec.scales(self.variables or tuple(map(str, range(self.shape[0]))))

    def draw(self, members: Sequence[int], first_step: int = 0) -> Iterator[Fields]:
        """Yield the noise of `members` at `first_step` and all later steps without end, float32 on the CPU."""
        stream = NoiseStream(self, members, first_step)
        while True:
            noise = torch.empty(len(members), *self.shape)
            stream.draw_into(noise.numpy())
            yield noise
            del noise


class NoiseStream:
    """The noise of some members of a forecast, drawn step after step, by one thread at a time.

    It is scale · z_k of `advance_noise`, which starts at step 0 whatever the first step, so that nothing has to be
    stored for a forecast that is resumed. Correlated noise keeps that of the last step.
    """

    def __init__(self, noise: ForecastNoise, members: Sequence[int], first_step: int = 0) -> None:
        self._noise, self._members, self._next = noise, tuple(members), first_step
        self._correlated: NDArray[np.float32] | None = None
        self._scales = noise.scales

    def draw_into(self, out: NDArray[np.float32]) -> None:
        """Draw the noise of the next step into `out`, float32 (member, variable, latitude, longitude)."""
        spec = self._noise.spec
        if spec.is_white:
            self._draw_white(range(len(self._members)), self._next, out)
        else:
            first = 0 if self._correlated is None else self._next
            correlated = self._correlated = np.empty_like(out) if self._correlated is None else self._correlated
            for step in range(first, self._next + 1):
                self._advance(correlated, step)
            out[:] = correlated
        for channel, scale in enumerate(self._scales):
            if scale != 1:
                out[:, channel] *= np.float32(scale)
        self._next += 1

    def _advance(self, correlated: NDArray[np.float32], step: int) -> None:
        """Replace the noise of the step before `step` by that of `step`, some members at a time."""
        noise = self._noise
        correlation = noise.spec.correlation_at(step, noise.time_step_hours)
        block = max(_BLOCK_BYTES // (4 * math.prod(noise.shape)), 1)
        for first in range(0, len(correlated), block):
            part = correlated[first : first + block]
            white = np.empty_like(part)
            self._draw_white(range(first, first + len(part)), step, white)
            part[:] = advance_noise(part if step else None, white, correlation)

    def _draw_white(self, rows: Sequence[int], step: int, out: NDArray[np.float32]) -> None:
        noise = self._noise
        white_noise(noise.seed, noise.init_time, [self._members[row] for row in rows], step, noise.shape, out)
