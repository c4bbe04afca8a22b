"""Rounds of the fit of a damping: what forecasts with one damping have too much of, and the damping to try next.

The values are those of a fixed point: log g ← log g − e/s, where e is the logarithm of the ratio of the members' power
to the truth's, and s its change with log g, by the secant of the last two rounds; for shifts, e is the bias.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diagnostics.scores.spectra import power_ratio, spherical_spectrum, total_deviation
from storage.errors import ConfigurationError
from training.calibration.forecasts import Forecasts, Verified
from training.calibration.rounds import Round
from weather.damping_spec import DampingSpec
from weather.grids import Grid
from weather.manifest import ModelSpec, NoiseSpec

FIRST_HOURS = 24
"""First lead time that counts: by then little is that of the analysis."""

_SLOPES = (5.0, 200.0)
"""Bounds of the change of an excess with the logarithm of a gain, or with a shift; a state keeps both for long."""
_LEAST_GAIN = 0.5
_SMOOTHING_DEGREES = 10.0
"""Distance at which latitudes have no weight in what is measured at a latitude."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class _Part:
    """One kind of values of a damping: its name in `DampingSpec` and how it is fitted.

    `first_slope` is the guess of the slope, and an excess within so many standard `errors` is left as it is: 1 for
    latitudes, which are each uncertain but have an excess in common. Gains are fitted by their logarithm.
    """

    name: str
    first_slope: float
    errors: float
    is_gain: bool = True

    def change(self, rounds: Sequence[Round]) -> Values:
        """Return the values to try after some rounds."""
        excess, values = self._read(rounds[-1])
        tolerance = self.errors * np.array(rounds[-1]["error"][self.name])
        significant = np.sign(excess) * np.maximum(np.abs(excess) - tolerance, 0)
        slope = np.full(excess.shape, self.first_slope)
        if len(rounds) > 1:
            earlier, change = self._read(rounds[-2])[0], values - self._read(rounds[-2])[1]
            moved = np.abs(change) > 1e-4
            slope[moved] = (excess - earlier)[moved] / change[moved]
        changed = values - significant / np.clip(slope, *_SLOPES)
        if self.is_gain:
            changed = np.exp(np.clip(changed, math.log(_LEAST_GAIN), 0))
        return np.asarray(np.round(changed, 4))

    def _read(self, each: Round) -> tuple[Values, Values]:
        values = np.array(each["damping"][self.name])
        return np.array(each["excess"][self.name]), np.log(values) if self.is_gain else values


_PARTS = (
    _Part("gains", first_slope=20.0, errors=2.0),
    _Part("eddy_gains", first_slope=40.0, errors=1.0),
    _Part("shifts", first_slope=20.0, errors=1.0, is_gain=False),
)


def first_damping(spec: ModelSpec) -> DampingSpec:
    """Return the damping of the first round, which changes nothing."""
    grid, number = spec.grid.grid, len(spec.variables)
    rows = (1.0,) * grid.shape[0]
    gains = ((1.0,) * (grid.highest_wavenumber + 1),) * number
    return DampingSpec(gains=gains, eddy_gains=(rows,) * number, shifts=((0.0,) * len(rows),) * number)


def next_damping(rounds: Sequence[Round]) -> DampingSpec | None:
    """Return the damping to try after some rounds, the first of which changed nothing; None if the last one fits."""
    values = {part.name: part.change(rounds).tolist() for part in _PARTS}
    return None if values == rounds[-1]["damping"] else DampingSpec.model_validate(values)


def measure_round(forecasts: Forecasts, noise: NoiseSpec, damping: DampingSpec) -> dict[str, Any]:
    """Return the round of `damping`, with which `forecasts` are damped.

    The excess is that of all lead times from 24 h on: log η by wavenumber, the logarithm of the ratio of variances of
    eddies and the bias of zonal means by latitude, both of neighbouring latitudes too. Its error is that from leaving
    out one start after another (jackknife), and the deviation is the mean of all variables and lead times. Raises
    `ConfigurationError` if a member was lost.
    """
    grid, measured = forecasts.spec.grid.grid, measured_steps(forecasts)
    by_start, by_step = [], dict[int, Values]()
    for start in forecasts.starts:
        sums = [_Sums.of(each, grid) for each in forecasts.compute(start, noise) if each.steps in measured]
        if sums:
            by_start.append(_Sums.add(sums))
        for each in sums:
            by_step[each.steps] = by_step.get(each.steps, 0) + each.power
    total = _Sums.add(by_start)
    if not np.isfinite(total.power).all():
        raise ConfigurationError("`lead_time` must be shorter: forecasts have lost members.", ("lead_time",))
    smoothing = _smoothing(grid)
    left_out = [total.without(start).excess(smoothing) for start in by_start]
    factor = math.sqrt(len(by_start) - 1)
    errors = {part.name: factor * np.std([each[part.name] for each in left_out], axis=0) for part in _PARTS}
    deviation = np.mean([total_deviation(power_ratio(*pair)) for pair in by_step.values()])
    return {
        "damping": damping.model_dump(mode="json", exclude={"fitted_on"}),
        "excess": {name: np.round(values, 5).tolist() for name, values in total.excess(smoothing).items()},
        "error": {name: np.round(values, 5).tolist() for name, values in errors.items()},
        "deviation": round(float(deviation), 4),
    }


def measured_steps(forecasts: Forecasts) -> tuple[int, ...]:
    """Return the lead times that count, in time steps; at least the last."""
    steps, hours = forecasts.evaluation.lead_steps, forecasts.spec.time_step_hours
    return tuple(step for step in steps if step * hours >= FIRST_HOURS) or steps[-1:]


@dataclass(frozen=True)
class _Sums:
    """Sums over lead times of members' means, then the truth's (2, variable, …).

    They are `power` by wavenumber, variance of `eddies` and `zonal` mean by latitude; `steps` is the last lead time.
    """

    steps: int
    number: int
    power: Values
    eddies: Values
    zonal: Values

    @classmethod
    def of(cls, each: Verified, grid: Grid) -> "_Sums":
        """Return the sums of one lead time."""
        pair = each.members, each.truth[None]
        means = [fields.double().mean(dim=-1, keepdim=True) for fields in pair]
        eddies = [((fields - mean) ** 2).mean(dim=(0, 3)) for fields, mean in zip(pair, means, strict=True)]
        zonal = [mean.mean(dim=(0, 3)) for mean in means]
        power = np.stack([_power(fields, grid) for fields in pair])
        return cls(each.steps, 1, power, _array(eddies), _array(zonal))

    @classmethod
    def add(cls, parts: Sequence["_Sums"]) -> "_Sums":
        """Return the sum of several."""
        names = [field.name for field in fields(cls)[1:]]
        return cls(parts[-1].steps, *(sum(getattr(each, name) for each in parts) for name in names))

    def without(self, part: "_Sums") -> "_Sums":
        """Return these sums without a part of them."""
        names = [field.name for field in fields(self)[1:]]
        return _Sums(self.steps, *(getattr(self, name) - getattr(part, name) for name in names))

    def excess(self, smoothing: Values) -> dict[str, Values]:
        """Return what members have too much of, for each part of a damping."""
        return {
            "gains": np.log(power_ratio(*self.power)),
            "eddy_gains": np.log(np.divide(*(self.eddies @ smoothing))),
            "shifts": np.subtract(*(self.zonal @ smoothing)) / self.number,
        }


def _smoothing(grid: Grid) -> Values:
    """Return the matrix that a row of latitudes is multiplied by, for means of neighbours by area and distance."""
    latitude = np.asarray(grid.latitude)
    near = np.maximum(1 - np.abs(latitude[:, None] - latitude) / _SMOOTHING_DEGREES, 0) * grid.area_weights[:, None]
    return np.asarray(near / near.sum(axis=0))


def _power(values: Tensor, grid: Grid) -> Values:
    """Return the mean power (variable, ℓ) of members; what is a billionth of the whole counts as that."""
    power = np.asarray(spherical_spectrum(values.numpy().astype(np.float64), grid)).mean(axis=0)
    return np.asarray(np.maximum(power, 1e-9 * power.sum(axis=-1, keepdims=True)))


def _array(values: Sequence[Tensor]) -> Values:
    return np.stack([each.numpy() for each in values])
