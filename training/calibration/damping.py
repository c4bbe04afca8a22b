"""The fit of a damping: wavenumbers at which forecasts have too much power are damped more, round after round.

The gains are those of a fixed point: log g ← log g − e/s, where e is the logarithm of η, the ratio of the members'
power to the truth's, and s its change with log g, by the secant of the last two rounds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diagnostics.scores.spectra import power_ratio, spherical_spectrum, total_deviation
from storage.errors import ConfigurationError
from training.calibration.forecasts import Forecasts
from training.data.training_data import TrainingData
from training.evaluation.records_file import RecordsFile
from training.evaluation.settings import Evaluation
from training.evaluation.subject import Subject
from weather.damping_spec import DampingFit, DampingSpec
from weather.grids import Grid
from weather.manifest import NoiseSpec

_FORMAT = 1
"""Version of the file of rounds."""

_FIRST_HOURS = 24
"""First lead time whose power counts: by then little power is that of the analysis."""
_STANDARD_ERRORS = 2.0
"""A ratio this near to 1 is left as it is."""
_FIRST_SLOPE = 20.0
_SLOPES = (5.0, 200.0)
"""Change of log η with the logarithm of the gain: guess, and bounds. A state keeps a power for many time steps."""
_LEAST_GAIN = 0.5
_LEAST_STARTS = 2

Round = Mapping[str, Any]
"""The `gains` of a round, log η (`log_ratio`) and its `error`, (variable, ℓ), and Σ|1 − η| (`deviation`); as JSON."""

Gains = NDArray[np.float64]


class DampingFitter:
    """Rounds of forecasts of a checkpoint with one damping after another, kept in the file `path`.

    The first is without damping, whatever the checkpoint has. All have its noise, and the starts, members and lead
    times of `evaluation`. Raises `ConfigurationError` for fewer starts than a sampling error can be measured from.
    """

    def __init__(self, subject: Subject, data: TrainingData, evaluation: Evaluation, path: Path) -> None:
        self._subject, self._data, self._evaluation = subject.with_damping(None), data, evaluation
        self._undamped = Forecasts(self._subject, data, evaluation)
        _check_starts(self._undamped)
        noise = subject.manifest.noise.parameters
        self._file = RecordsFile(path, {"damping_format": _FORMAT, "noise": noise} | self._undamped.settings())

    def run(
        self,
        num_rounds: int,
        report_progress: Callable[[int], None],
        report_cost: Callable[[float, int], None],
    ) -> Sequence[Round]:
        """Compute the rounds up to `num_rounds` that are not in the file, until the gains stay; return all.

        `report_cost` is called before the first with the seconds and evaluations of networks of those that are left.
        """
        rounds, spec = self._file.records, self._subject.manifest.model
        gains: Gains | None = np.ones((len(spec.variables), spec.grid.grid.highest_wavenumber + 1))
        if rounds:
            gains = next_gains(rounds)
        if gains is not None:
            self._undamped.report_cost(num_rounds - len(rounds), report_cost)
        while gains is not None and len(rounds) < num_rounds:
            damped = self._subject.with_damping(DampingSpec(gains=gains.tolist()))
            forecasts = Forecasts(damped, self._data, self._evaluation)
            self._file.append(measure_round(forecasts, self._subject.manifest.noise, gains))
            report_progress(len(rounds))
            gains = next_gains(rounds)
        return rounds

    def choose(self, data: str) -> DampingSpec | None:
        """Return the damping of the round with the least deviation, fitted on `data`; None if that has none."""
        rounds, evaluation = self._file.records, self._evaluation
        best = min(rounds, key=lambda each: float(each["deviation"]))
        if best is rounds[0]:
            return None
        fit = DampingFit(
            data=data,
            years=evaluation.years,
            starts=evaluation.num_starts,
            members=evaluation.num_members,
            lead_hours=tuple(steps * self._undamped.spec.time_step_hours for steps in _measured_steps(self._undamped)),
            sampling=self._subject.forecaster.sampling.describe(),
            deviation=best["deviation"],
            undamped_deviation=rounds[0]["deviation"],
        )
        return DampingSpec(gains=best["gains"], fitted_on=fit)


def measure_round(forecasts: Forecasts, noise: NoiseSpec, gains: Gains) -> dict[str, Any]:
    """Return the round of `gains`, with which `forecasts` are damped.

    η is that of all lead times from 24 h on, its error from leaving out one start after another (jackknife), and the
    deviation the mean of all variables and lead times. Raises `ConfigurationError` if a member was lost.
    """
    grid, measured = forecasts.spec.grid.grid, _measured_steps(forecasts)
    by_start, by_step = [], dict[int, NDArray[np.float64]]()
    for start in forecasts.starts:
        powers = np.zeros((2, *gains.shape))
        for each in forecasts.compute(start, noise):
            if each.steps in measured:
                pair = np.stack([_power(fields, grid) for fields in (each.members, each.truth[None])])
                powers += pair
                by_step[each.steps] = by_step.get(each.steps, 0) + pair
        by_start.append(powers)
    total, starts = np.sum(by_start, axis=0), np.array([powers for powers in by_start if powers.any()])
    if not np.isfinite(total).all():
        raise ConfigurationError("`lead_time` must be shorter: forecasts have lost members.", ("lead_time",))
    left_out = np.log(np.divide(*np.moveaxis(total - starts, 1, 0)))
    error = np.sqrt((len(starts) - 1) * left_out.var(axis=0))
    deviation = np.mean([total_deviation(power_ratio(*pair)) for pair in by_step.values()])
    return {
        "gains": gains.tolist(),
        "log_ratio": np.round(np.log(power_ratio(*total)), 5).tolist(),
        "error": np.round(error, 5).tolist(),
        "deviation": round(float(deviation), 4),
    }


def _check_starts(forecasts: Forecasts) -> None:
    """Raise `ConfigurationError` unless two starts have truth at the lead times whose power counts."""
    found = forecasts.count_starts(_measured_steps(forecasts))
    if found < _LEAST_STARTS:
        raise ConfigurationError(
            f"`starts` must be {_LEAST_STARTS} or more with truth at {_FIRST_HOURS} h or later, from which the damping "
            f"is fitted. Got: {found}. Or pass --damping-rounds 0, which leaves the damping as it is.",
            ("starts",),
        )


def _measured_steps(forecasts: Forecasts) -> tuple[int, ...]:
    """Return the lead times, in time steps, whose power counts; at least the last."""
    steps, hours = forecasts.evaluation.lead_steps, forecasts.spec.time_step_hours
    return tuple(step for step in steps if step * hours >= _FIRST_HOURS) or steps[-1:]


def _power(fields: Tensor, grid: Grid) -> NDArray[np.float64]:
    """Return the mean power (variable, ℓ) of members; what is a billionth of the whole counts as that."""
    power = np.asarray(spherical_spectrum(fields.numpy().astype(np.float64), grid)).mean(axis=0)
    return np.asarray(np.maximum(power, 1e-9 * power.sum(axis=-1, keepdims=True)))


def next_gains(rounds: Sequence[Round]) -> Gains | None:
    """Return the gains to try after some rounds, the first of which was of gains 1; None if the last ones fit."""
    last = rounds[-1]
    excess, log_gains = np.array(last["log_ratio"]), np.log(last["gains"])
    tolerance = _STANDARD_ERRORS * np.array(last["error"])
    significant = np.sign(excess) * np.maximum(np.abs(excess) - tolerance, 0)
    slope = np.full(excess.shape, _FIRST_SLOPE)
    if len(rounds) > 1:
        change = log_gains - np.log(rounds[-2]["gains"])
        moved = np.abs(change) > 1e-4
        slope[moved] = (excess - np.array(rounds[-2]["log_ratio"]))[moved] / change[moved]
    changed = np.clip(log_gains - significant / np.clip(slope, *_SLOPES), math.log(_LEAST_GAIN), 0)
    gains = np.round(np.exp(changed), 4)
    return None if gains.tolist() == last["gains"] else gains
