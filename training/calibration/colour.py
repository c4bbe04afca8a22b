"""The fit of a colour of the noise: rounds of one time step with one colour after another, kept in a file."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from training.calibration.colour_rounds import first_colour, measure_round, measure_sample, next_colour
from training.calibration.identity import digest_without_noise
from training.calibration.rounds import Round, Rounds
from training.data.training_data import TrainingData
from training.evaluation.records_file import RecordsFile
from training.evaluation.settings import Evaluation, spread_ends
from training.evaluation.subject import Subject
from weather.noise_colour import ColourFit, NoiseColour

_FORMAT = 1
"""Version of the file of rounds."""

_SAMPLES = 240
"""Largest number of samples from which a time step is made: power at a wavenumber takes many, and a step is short."""

_LEAST_SAMPLES = 2


class ColourFitter:
    """Rounds of one time step of a checkpoint with one colour of its noise after another, kept in the file `path`.

    The first is without colour, whatever the checkpoint has. The chosen one fades over the lead times with the
    e-folding time `decay_hours`, which one time step does not tell. All have the same samples of the years of
    `evaluation`, as many members, and the checkpoint's damping. Raises `ConfigurationError` for fewer samples than a
    sampling error can be measured from.
    """

    def __init__(
        self, subject: Subject, data: TrainingData, evaluation: Evaluation, path: Path, *, decay_hours: float
    ) -> None:
        self._subject, self._data, self._evaluation = subject.with_colour(None), data, evaluation
        self._first = first_colour(subject.manifest.model, decay_hours)
        found = data.sample_indices(evaluation.years)
        if len(found) < _LEAST_SAMPLES:
            raise ConfigurationError(
                f"`years` must have {_LEAST_SAMPLES} or more frames with one a time step later, from which the colour "
                f"is fitted. Got: {len(found)}. Or pass --colour-rounds 0, which leaves the colour as it is.",
                ("years",),
            )
        self._samples = spread_ends(found, min(_SAMPLES, len(found))).tolist()
        file = RecordsFile(path, self._settings())
        self._rounds = Rounds(file, self._first, lambda rounds: next_colour(rounds[-1]), self._measure)

    def run(
        self,
        num_rounds: int,
        report_progress: Callable[[int], None],
        report_cost: Callable[[float, int], None],
    ) -> Sequence[Round]:
        """Compute the rounds up to `num_rounds` that are not in the file, until they change nothing more; return all.

        `report_cost` is called before the first with the seconds and evaluations of networks of those that are left.
        """
        return self._rounds.run(num_rounds, report_progress, lambda number: self._report_cost(number, report_cost))

    def choose(self, data: str) -> NoiseColour | None:
        """Return the colour of the round with the least deviation, fitted on `data`; None if that has none."""
        model, best = self._subject.manifest.model, self._rounds.best
        if best is None:
            return None
        fit = ColourFit(
            data=data,
            years=self._evaluation.years,
            starts=len(self._samples),
            members=self._evaluation.num_members,
            lead_hours=(model.time_step_hours,),
            sampling=self._subject.forecaster.sampling.describe(),
            deviation=best["deviation"],
            white_deviation=self._rounds.first_deviation,
        )
        return NoiseColour.model_validate(best["colour"]).model_copy(update={"fitted_on": fit})

    def _measure(self, colour: NoiseColour) -> dict[str, Any]:
        return measure_round(self._subject.with_colour(colour), self._data, self._samples, self._evaluation)

    def _settings(self) -> dict[str, Any]:
        """Return what the rounds depend on, as JSON."""
        manifest = self._subject.manifest
        return {
            "colour_format": _FORMAT,
            "checkpoint": digest_without_noise(manifest),
            "scale": manifest.noise.scale,
            "decay_hours": self._first.decay_hours,
            "samples": [str(time) for time in self._data.valid_times[self._samples]],
            "members": self._evaluation.num_members,
            "seed": self._evaluation.seed,
        }

    def _report_cost(self, num_rounds: int, report: Callable[[float, int], None]) -> None:
        """Report the cost of some rounds; the seconds are those of one sample, after one to warm up."""
        seconds = 0.0
        for _ in range(2):
            began = time.perf_counter()
            measure_sample(self._subject, self._data, self._samples[0], self._evaluation)
            seconds = time.perf_counter() - began
        times, sampling = num_rounds * len(self._samples), self._subject.forecaster.sampling
        report(times * seconds, times * (self._evaluation.num_members * sampling.network_evaluations + 1))
