"""Rollouts of weeks from starts of all seasons: are they finite, do they keep the climate, and does their mean grow?"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.evaluation.stability import BAND_EDGES, Moments, band_moments, combine_stability
from diagnostics.scores.growth import anomaly_amplitude
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from models.rollout import mean_rollout, rollout
from models.shapes import Fields
from training.data.training_data import TrainingData
from training.evaluation.context import load_context
from training.evaluation.evaluator import Cost
from training.evaluation.records_file import RecordsFile
from training.evaluation.season import Season
from training.evaluation.settings import spread_inside
from weather.errors import TrainingDataError
from weather.manifest import Manifest
from weather.periods import Period, format_periods, select_times

_FORMAT = 3
_FRAMES_OF_A_YEAR = 1500
_PART = 64
_WHOLE = 0.95
"""Least part of a year that is compared."""


@dataclass(frozen=True)
class StabilityTest:
    """The settings: one member from each of `num_starts` starts, evenly spread over `years`, for `days`."""

    years: tuple[Period, ...]
    num_starts: int
    days: float
    seed: int


class StabilityTester:
    """Rollouts of one member, and of the mean of h, from each start; their climate is compared with training years.

    Raises `TrainingDataError` if the data holds no frames to start from, or none of the training years.
    """

    def __init__(self, forecaster: Forecaster, manifest: Manifest, data: TrainingData, test: StabilityTest) -> None:
        self._forecaster, self._manifest, self._data, self._test = forecaster, manifest, data, test
        self._num_steps = max(round(24 * test.days / manifest.model.time_step_hours), 3)
        self._first_growth_step = self._num_steps // 3
        samples = data.sample_indices(test.years)
        if len(samples) < test.num_starts:
            raise TrainingDataError(
                f"`stability_starts` must be at most {len(samples)}, the frames of {format_periods(test.years)} in the "
                f"data. Got: {test.num_starts}."
            )
        self.starts: list[int] = spread_inside(samples, test.num_starts).tolist()
        self._train_indices = np.flatnonzero(select_times(data.valid_times, manifest.provenance.train_years))
        if not len(self._train_indices):
            raise TrainingDataError(
                f"The stability test needs frames of the training years "
                f"{format_periods(manifest.provenance.train_years)}, whose mean is the climatology. Got: none."
            )

    def run(self, file: RecordsFile) -> Iterator[None]:
        """Compute the record of each start that is not in `file`, in order, and append it; yield after each."""
        for start in self.starts[len(file.records) :]:
            file.append(self._score(start, self._climatology))
            yield

    def combine(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return days, the years of comparison, and the result of `combine_stability`."""
        years, names = self._climatology.years, self._manifest.model.variable_names
        result = combine_stability(records, list(years.values()), names, self._first_growth_step)
        return {"days": self._test.days, "years": list(years)} | result

    def settings(self) -> dict[str, Any]:
        """Return the settings that the records depend on, as JSON."""
        return {
            "stability_format": _FORMAT,
            "checkpoint": self._manifest.digest,
            "days": self._test.days,
            "seed": self._test.seed,
            "starts": [str(self._data.valid_times[start]) for start in self.starts],
            **self._forecaster.sampling.model_dump(mode="json"),
            "noise": self._manifest.noise.model_dump(mode="json"),
        }

    def estimate_cost(self, done: int = 0) -> Cost:
        """Estimate the cost of the starts after the first `done`, from one time step after one to warm up."""
        remaining, seconds = len(self.starts) - done, 0.0
        for _ in range(2 if remaining else 0):
            began = time.perf_counter()
            for states in (self._rollout(self.starts[0]), self._mean_rollout(self.starts[0])):
                next(states)
            seconds = time.perf_counter() - began
        evaluations = (self._forecaster.sampling.network_evaluations + 1) * self._num_steps * remaining
        return Cost(seconds * self._num_steps * remaining, evaluations)

    def _score(self, start: int, climatology: "_Climatology") -> dict[str, Any]:
        """Return the record of one start."""
        hours, grid, spec = self._manifest.model.time_step_hours, self._data.grid, self._manifest.model
        moments, lost = np.zeros((3, len(spec.variables), len(BAND_EDGES) - 1)), None
        for step, states in enumerate(islice(self._rollout(start), self._num_steps), start=1):
            fields = states.cpu().numpy()
            if not np.isfinite(fields).all():
                lost = step * hours
                break
            if step > self._num_steps // 2:
                moments += band_moments(fields, grid)
        first = max(self._first_growth_step, 1)
        means = (mean[0].cpu().numpy() for mean in islice(self._mean_rollout(start), first - 1, self._num_steps))
        steps = np.arange(first, self._num_steps + 1)
        season = climatology.season.at(self._data.valid_times[start] + steps * spec.time_step)
        return {
            "start": str(self._data.valid_times[start]),
            "lost_hours": lost,
            "moments": moments.tolist(),
            "truth_moments": self._truth_moments(start),
            "amplitudes": self._measure_amplitudes(means, climatology),
            "season_amplitudes": self._measure_amplitudes(season, climatology),
        }

    def _measure_amplitudes(self, states: Iterable[NDArray[Any]], climatology: "_Climatology") -> list[float | None]:
        """Return the distance of each state from the mean of all dates, None for one that is not finite."""
        scales = [variable.std for variable in self._manifest.model.variables]
        weights = self._data.grid.area_weights
        amplitudes = [float(anomaly_amplitude(state, climatology.mean, scales, weights)) for state in states]
        return [amplitude if math.isfinite(amplitude) else None for amplitude in amplitudes]

    def _truth_moments(self, start: int) -> list[Any] | None:
        """Return the moments of the truth of the second half of the rollout; None unless the data holds all of it."""
        steps = range(self._num_steps // 2 + 1, self._num_steps + 1)
        indices = np.concatenate([self._data.shift(np.array([start]), step) for step in steps])
        if (indices < 0).any():
            return None
        moments: list[Any] = band_moments(self._data.frames(indices), self._data.grid).tolist()
        return moments

    def _rollout(self, start: int) -> Iterator[Fields]:
        """Return the states of one member after the first time step, the second, …."""
        init_time, model = self._data.valid_times[start], self._manifest.model
        noise = ForecastNoise.of(model, self._manifest.noise, seed=self._test.seed, init_time=init_time)
        return rollout(self._forecaster, self._context(start), noise.draw((0,)), init_time=init_time)

    def _mean_rollout(self, start: int) -> Iterator[Fields]:
        return mean_rollout(self._forecaster, self._context(start), init_time=self._data.valid_times[start])

    def _context(self, start: int) -> tuple[Fields, ...]:
        return load_context(self._forecaster, self._data, start)

    @cached_property
    def _climatology(self) -> "_Climatology":
        return _measure_years(self._data, self._train_indices)


@dataclass(frozen=True)
class _Climatology:
    """The mean of the training years over all dates and by season, and the moments of each that is nearly whole."""

    mean: NDArray[np.float32]
    season: Season
    years: dict[int, Moments]


def _measure_years(data: TrainingData, indices: NDArray[np.int64]) -> _Climatology:
    """Measure the training years, whose frames have `indices`."""
    shape = (len(data.variables), *data.grid.shape)
    total, count, season, moments = np.zeros(shape), 0, Season(*shape), {}
    years = data.valid_times[indices].astype("datetime64[Y]").astype(int) + 1970
    for year in np.unique(years).tolist():
        sums = np.zeros((3, len(data.variables), len(BAND_EDGES) - 1))
        for part in _split(indices[years == year]):
            fields = data.frames(part)
            total += fields.sum(axis=0, dtype=np.float64)
            count += len(part)
            season.add(data.valid_times[part], fields)
            sums += band_moments(fields, data.grid)
        if (years == year).sum() >= _WHOLE * (np.timedelta64(365, "D") / data.time_step):
            moments[year] = sums
    return _Climatology(np.asarray(total / count, np.float32), season, moments)


def _split(indices: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    """Return parts of at most 1500 of the indices, evenly spread over all hours of the day."""
    stride = math.ceil(len(indices) / _FRAMES_OF_A_YEAR)
    while math.gcd(stride, 24) > 1:
        stride += 1
    chosen = indices[::stride]
    return np.array_split(chosen, math.ceil(len(chosen) / _PART))
