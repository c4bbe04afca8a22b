"""The colour of the noise of a forecast, which fades over the lead times."""

from functools import lru_cache

import torch

from models.harmonic_gains import HarmonicGains
from models.shapes import Fields
from weather.grids import Grid
from weather.manifest import ModelSpec


class Colour:
    """Give the noise of a step the colour of a specification, as much as is left of it by then."""

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        self._colour, self._time_step_hours = spec.colour, spec.time_step_hours
        self._gains = None if spec.colour is None else _operator(spec.colour.gains, spec.grid.grid, device)

    def __call__(self, noise: Fields, step: int) -> Fields:
        """Return the coloured noise of a step, (member, variable, latitude, longitude); steps count from 0.

        It is the noise itself where there is no colour, or nothing is left of it. The call does not wait for the
        device. Members are coloured one by one where memory does not suffice for all.
        """
        if self._colour is None or self._gains is None:
            return noise
        weight = self._colour.weight_at(step, self._time_step_hours)
        if not weight:
            return noise
        try:
            return self._gains(noise, weight)
        except torch.OutOfMemoryError:
            return torch.cat([self._gains(member, weight) for member in noise.split(1)])


@lru_cache(maxsize=4)
def _operator(gains: tuple[tuple[float, ...], ...], grid: Grid, device: torch.device) -> HarmonicGains:
    return HarmonicGains(gains, grid, device)
