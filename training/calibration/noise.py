"""The fit of a checkpoint's noise: trials of one noise after another, kept in a file."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from training.calibration.forecasts import Forecasts
from training.calibration.search import guess_noise, search_noise, search_scales
from training.calibration.trials import Trial, Trials, objective, scale_objective, spread_errors
from training.data.training_data import TrainingData
from training.evaluation.records_file import RecordsFile
from training.evaluation.settings import Evaluation
from training.evaluation.subject import Subject
from weather.manifest import WHITE, NoiseFit, NoiseSpec


class NoiseFitter:
    """Trials of noise for a checkpoint, those of an interrupted calibration in the file `path` included.

    With `scale_only` all have the checkpoint's correlation in time, but for those of white noise, and `spread_weight`
    does not matter.
    """

    def __init__(
        self,
        subject: Subject,
        data: TrainingData,
        evaluation: Evaluation,
        path: Path,
        *,
        spread_weight: float,
        scale_only: bool,
    ) -> None:
        self._subject, self._data, self._evaluation = subject, data, evaluation
        self._trials = Trials(Forecasts(subject, data, evaluation))
        self._spread_weight, self._scale_only = spread_weight, scale_only
        self._noise = subject.manifest.noise.model_copy(update={"fitted_on": None})
        kept = self._noise.model_copy(update={"scale": 1.0}).parameters
        settings = {"correlation": kept} if scale_only else {"spread_weight": spread_weight}
        self._file = RecordsFile(path, self._trials.settings() | settings)

    def run(
        self,
        num_trials: int,
        report_progress: Callable[[int], None],
        report_cost: Callable[[float, int], None],
    ) -> None:
        """Try white noise, and others up to about `num_trials` that are not in the file.

        `report_cost` is called before the first with the seconds and evaluations of networks of those that are left.
        """
        self._trials.forecasts.report_cost(num_trials - len(self._file.records), report_cost)

        def evaluate(noise: NoiseSpec) -> Trial:
            known = [trial for trial in self._file.records if trial["noise"] == noise.parameters]
            if not known:
                self._file.append(self._trials.score(noise))
                report_progress(min(len(self._file.records), num_trials))
            return (known or self._file.records)[-1]

        evaluate(WHITE)
        self._check_white()
        if self._scale_only:
            search_scales(lambda noise: spread_errors(evaluate(noise)), self._guess, num_trials - 1)
        else:
            search_noise(lambda noise: self._value(evaluate(noise)), self._guess, num_trials - 1)

    def choose(self, data: str) -> NoiseSpec:
        """Return the best noise of all trials, fitted on `data`."""
        best, evaluation = min(self._candidates, key=self._value), self._evaluation
        fit = NoiseFit(
            data=data,
            years=evaluation.years,
            starts=evaluation.num_starts,
            members=evaluation.num_members,
            lead_hours=self._trials.forecasts.lead_hours,
            sampling=self._subject.forecaster.sampling.describe(),
            objective=self._describe_objective(),
            value=round(self._value(best), 6),
            white_value=round(self._value(self._white), 6),
            scale_only=self._scale_only,
        )
        return NoiseSpec(**best["noise"], fitted_on=fit)

    def table(self) -> list[dict[str, Any]]:
        """Return all trials, the best first; the objective of one that lost a member is None."""
        trials = sorted(self._file.records, key=self._value)
        values = [self._value(trial) for trial in trials]
        finite = [value if math.isfinite(value) else None for value in values]
        return [trial | {"objective": value} for trial, value in zip(trials, finite, strict=True)]

    def _check_white(self) -> None:
        """Raise `ConfigurationError` if forecasts with white noise lose members, so that nothing can be compared."""
        lost = [row["lead_hours"] for row in self._white["lead_times"] if None in row["crps"]]
        if lost:
            raise ConfigurationError(
                f"`lead_time` must be shorter than {lost[0]}h: by then, forecasts with white noise have lost members.",
                ("lead_time",),
            )

    def _describe_objective(self) -> str:
        if self._scale_only:
            return "ln²(spread ÷ skill) + ln²(scale ÷ that of true residuals)"
        return f"CRPS ÷ that with white noise + {self._spread_weight:g} · ln²(spread ÷ skill)"

    @cached_property
    def _guess(self) -> NoiseSpec:
        guess = guess_noise(self._subject, self._data, self._evaluation.years)
        return self._noise.model_copy(update={"scale": guess.scale}) if self._scale_only else guess

    @property
    def _white(self) -> Trial:
        return self._file.records[0]

    @property
    def _candidates(self) -> Sequence[Trial]:
        """The trials to choose from: without that of white noise if the correlation in time is kept."""
        return self._file.records[1:] if self._scale_only else self._file.records

    def _value(self, trial: Trial) -> float:
        if not self._scale_only:
            return objective(trial, self._white, self._spread_weight)
        names = self._trials.forecasts.spec.variable_names
        return scale_objective(trial, NoiseSpec(**trial["noise"]).scales(names), self._guess.scales(names))
