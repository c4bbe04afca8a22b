"""The fit of a damping: rounds of forecasts with one damping after another, kept in a file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from training.calibration.damping_rounds import (
    FIRST_HOURS,
    first_damping,
    measure_round,
    measured_steps,
    next_damping,
)
from training.calibration.forecasts import Forecasts
from training.calibration.rounds import Round, Rounds
from training.data.training_data import TrainingData
from training.evaluation.records_file import RecordsFile
from training.evaluation.settings import Evaluation
from training.evaluation.subject import Subject
from weather.damping_spec import DampingFit, DampingSpec

_FORMAT = 2
"""Version of the file of rounds."""

_LEAST_STARTS = 2


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
        file = RecordsFile(path, {"damping_format": _FORMAT, "noise": noise} | self._undamped.settings())
        self._rounds = Rounds(file, first_damping(subject.manifest.model), next_damping, self._measure)

    def run(
        self,
        num_rounds: int,
        report_progress: Callable[[int], None],
        report_cost: Callable[[float, int], None],
    ) -> Sequence[Round]:
        """Compute the rounds up to `num_rounds` that are not in the file, until they change nothing more; return all.

        `report_cost` is called before the first with the seconds and evaluations of networks of those that are left.
        """
        report = self._undamped.report_cost
        return self._rounds.run(num_rounds, report_progress, lambda number: report(number, report_cost))

    def _measure(self, damping: DampingSpec) -> dict[str, Any]:
        forecasts = Forecasts(self._subject.with_damping(damping), self._data, self._evaluation)
        return measure_round(forecasts, self._subject.manifest.noise, damping)

    def choose(self, data: str) -> DampingSpec | None:
        """Return the damping of the round with the least deviation, fitted on `data`; None if that has none."""
        best, evaluation = self._rounds.best, self._evaluation
        if best is None:
            return None
        fit = DampingFit(
            data=data,
            years=evaluation.years,
            starts=evaluation.num_starts,
            members=evaluation.num_members,
            lead_hours=tuple(steps * self._undamped.spec.time_step_hours for steps in measured_steps(self._undamped)),
            sampling=self._subject.forecaster.sampling.describe(),
            deviation=best["deviation"],
            undamped_deviation=self._rounds.first_deviation,
        )
        return DampingSpec.model_validate(best["damping"]).model_copy(update={"fitted_on": fit})


def _check_starts(forecasts: Forecasts) -> None:
    """Raise `ConfigurationError` unless two starts have truth at the lead times whose power counts."""
    found = forecasts.count_starts(measured_steps(forecasts))
    if found < _LEAST_STARTS:
        raise ConfigurationError(
            f"`starts` must be {_LEAST_STARTS} or more with truth at {FIRST_HOURS} h or later, from which the damping "
            f"is fitted. Got: {found}. Or pass --damping-rounds 0, which leaves the damping as it is.",
            ("starts",),
        )
