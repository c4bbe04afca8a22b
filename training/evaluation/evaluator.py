"""The evaluation of a checkpoint on held-out data: a record of scores for each start."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.evaluation.comparison import References, score_lead_time
from diagnostics.evaluation.records import score_gaussian
from diagnostics.evaluation.residual_records import record_residuals
from diagnostics.figures.example import Example
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from models.rollout import Stepper, rollout
from models.shapes import Fields
from training.data.training_data import TrainingData
from training.evaluation.context import load_context
from training.evaluation.records_file import RecordsFile
from training.evaluation.settings import Evaluation, same_date_indices, start_indices, truth_indices
from training.evaluation.steppers import ResidualStepper, true_residuals
from weather.climatology import WINDOW_DAYS, ClimatologyKind, choose_climatology, climatology_indices
from weather.manifest import Manifest
from weather.stores.layout import count_groups

RECORDS_FORMAT = 4
"""Version of the records file; an evaluation is not resumed from records of another version."""

RESIDUAL_STEPS = 12
"""Largest number of time steps whose residuals are recorded."""


@dataclass(frozen=True)
class Cost:
    """What the remaining starts of an evaluation take: seconds, and evaluations of networks, those of h counted."""

    seconds: float
    evaluations: int


class Evaluator:
    """Forecasts from held-out starts, and their scores; the climatology is of the checkpoint's training years.

    `starts` are indices of initial frames, by default those that `evaluation` says. Each is scored at the lead times
    with truth. Raises `TrainingDataError` if fewer
    than `num_starts` frames have truth at all lead times, or if the data holds too few states of the training years for
    the climatology.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        manifest: Manifest,
        data: TrainingData,
        evaluation: Evaluation,
        starts: Sequence[int] | None = None,
    ) -> None:
        self._forecaster, self._manifest, self._data, self._evaluation = forecaster, manifest, data, evaluation
        self._control: Stepper | None = None
        self.starts = list(start_indices(data, evaluation) if starts is None else starts)
        self._climatology = self._choose_climatology() if evaluation.references else None
        for start in self.starts if evaluation.references else ():
            self._climatology_indices(data.valid_times[self._later(start, self._known_steps(start)[-1])])

    def add_control(self, control: Stepper) -> None:
        """Score the forecasts of a control too, which have the same noise."""
        self._control = control

    def run(self, file: RecordsFile) -> Iterator[None]:
        """Compute the record of each start that is not in `file`, in order, and append it; yield after each."""
        for start in self.starts[len(file.records) :]:
            file.append(self.score(start))
            yield

    def settings(self) -> dict[str, Any]:
        """Return the settings that the scores depend on, as JSON."""
        evaluation = self._evaluation
        hours = self._manifest.model.time_step_hours
        return {
            "records_format": RECORDS_FORMAT,
            "checkpoint": self._manifest.digest,
            "years": list(evaluation.years),
            "members": evaluation.num_members,
            "lead_hours": [steps * hours for steps in evaluation.lead_steps],
            "group_size": evaluation.group_size,
            "seed": evaluation.seed,
            "climatology": self._climatology,
            "natural_years": list(evaluation.natural_years or ()),
            "control": self._control is not None,
            "starts": [str(self._data.valid_times[start]) for start in self.starts],
            **self._forecaster.sampling.model_dump(mode="json"),
            "noise": self._manifest.noise.model_dump(mode="json"),
        }

    def estimate_cost(self, done: int = 0) -> Cost:
        """Estimate the cost of the starts after the first `done`.

        It is from one step of one group and one lead time's scores, each after one to warm up.
        """
        evaluation, start, remaining = self._evaluation, self.starts[0], len(self.starts) - done
        if not remaining:
            return Cost(0.0, 0)
        groups = count_groups(evaluation.num_members, evaluation.group_size)
        seconds, evaluations = 0.0, 0
        for stepper in self._steppers():
            self._forecast_group(stepper, start, 0, (1,))
            began = time.perf_counter()
            self._forecast_group(stepper, start, 0, (1,))
            seconds += (time.perf_counter() - began) * groups * evaluation.num_lead_times
            of_step = self._forecaster.sampling.network_evaluations if stepper is self._forecaster else 1
            evaluations += of_step * groups * evaluation.group_size * evaluation.num_lead_times
        states = self._frame(start)[None].repeat(evaluation.num_members, axis=0)
        began = time.perf_counter()
        self._score_members(states, start, 1)
        seconds += (time.perf_counter() - began) * len(evaluation.lead_steps) * len(self._steppers())
        steps = min(RESIDUAL_STEPS, evaluation.num_lead_times)
        evaluations += steps * (evaluation.group_size + 1)
        return Cost(seconds * remaining, evaluations * remaining)

    def score(self, start: int) -> dict[str, Any]:
        """Return the records of all lead times of the forecast from frame `start`, of its residuals and its warm start.

        `control` has the records of the control's lead times.
        """
        steps = min(RESIDUAL_STEPS, self._evaluation.num_lead_times)
        residuals = ResidualStepper(self._forecaster, self._forecaster, steps)
        record: dict[str, Any] = {
            "start": str(self._data.valid_times[start]),
            "lead_times": self._score_forecast(self._forecaster, start, residuals),
            "residuals": self._record_residuals(start, residuals.residuals),
            "warm_start": self._score_warm_start(start),
        }
        if self._control is not None:
            record["control"] = self._score_forecast(self._control, start)
        return record

    def compute_example(self) -> Example:
        """Return the forecast from the first start with its truth, for pictures."""
        data, start = self._data, self.starts[0]
        steps = self._example_steps(start)
        truth = [self._later(start, step) for step in steps]
        members = list(self._forecast(self._forecaster, start, steps))
        return Example.from_fields(
            np.stack(members),
            data.frames(np.array(truth)),
            self._manifest.model.variable_names,
            data.grid,
            data.valid_times[start],
            data.time_step,
        )

    def _example_steps(self, start: int) -> range:
        """Return the time steps from 1 on, up to the last lead time, whose truth is known without a gap."""
        last = 0
        while last < self._evaluation.num_lead_times and self._later(start, last + 1) >= 0:
            last += 1
        return range(1, last + 1)

    def _known_steps(self, start: int) -> list[int]:
        """Return the lead times that are scored and have truth, in time steps."""
        return [steps for steps in self._evaluation.lead_steps if self._later(start, steps) >= 0]

    def _steppers(self) -> list[Stepper]:
        return [self._forecaster, *([] if self._control is None else [self._control])]

    def _score_forecast(
        self, stepper: Stepper, start: int, first_group: Stepper | None = None
    ) -> dict[int, dict[str, Any]]:
        """Return the record of each lead time with truth, by hours; `first_group` computes the first members.

        What a forecast is compared with has records as long as it loses no member.
        """
        hours, steps = self._manifest.model.time_step_hours, self._known_steps(start)
        is_compared = stepper is self._control or not self._evaluation.references
        records = {}
        for step, members in zip(steps, self._forecast(stepper, start, steps, first_group), strict=True):
            if is_compared and not np.isfinite(members).all():
                break
            records[step * hours] = self._score_members(members, start, step)
        return records

    def _score_members(self, members: NDArray[np.float32], start: int, steps: int) -> dict[str, Any]:
        spec, data, index = self._manifest.model, self._data, self._later(start, steps)
        return score_lead_time(
            members,
            self._frame(index),
            self._references(start, index),
            spec.variable_names,
            [variable.std for variable in spec.variables],
            data.grid,
            data.valid_times[index],
            (self._evaluation.seed, start, steps),
        )

    def _references(self, start: int, index: int) -> References:
        """Return the references for the truth at frame `index`."""
        if self._climatology is None:
            return References()
        valid_time, years = self._data.valid_times[index], None
        if self._evaluation.natural_years:
            whole = [year for year in self._evaluation.natural_years if isinstance(year, int)]
            years = self._data.frames(same_date_indices(self._data, valid_time, whole))
        return References(self._frame(start), self._data.frames(self._climatology_indices(valid_time)), years)

    def _later(self, index: int, steps: int) -> int:
        """Return the index of the frame that is some time steps after another one, -1 if the years have none."""
        return int(self._data.shift(np.array([index]), steps, self._evaluation.years)[0])

    def _frame(self, index: int) -> NDArray[np.float32]:
        frame: NDArray[np.float32] = self._data.frames(np.array([index]))[0]
        return frame

    def _choose_climatology(self) -> ClimatologyKind:
        """Return the kind of climatology, which has enough states for the truth of all starts."""
        times, years = self._data.valid_times, self._manifest.provenance.train_years
        truth = times[truth_indices(self._data, self.starts, self._evaluation)]
        return self._evaluation.climatology or choose_climatology(times, truth, years)

    def _climatology_indices(self, valid_time: np.datetime64) -> NDArray[np.int64]:
        """Return the indices of the states of climatology for a valid time."""
        years = self._manifest.provenance.train_years
        window = WINDOW_DAYS if self._climatology == "seasonal" else None
        return climatology_indices(self._data.valid_times, valid_time, years, window_days=window)

    def _forecast(
        self, stepper: Stepper, start: int, steps: Sequence[int], first_group: Stepper | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield all members at each of `steps`, (member, variable, latitude, longitude)."""
        num_members, group_size = self._evaluation.num_members, self._evaluation.group_size
        groups = [
            self._forecast_group(stepper if first or first_group is None else first_group, start, first, steps)
            for first in range(0, num_members, group_size)
        ]
        for parts in zip(*groups, strict=True):
            yield np.concatenate(parts)[:num_members]

    def _forecast_group(
        self, stepper: Stepper, start: int, first: int, steps: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        """Return the states at `steps` of the group of members whose first one is `first`."""
        members = range(first, first + self._evaluation.group_size)
        frames = [frame.repeat(len(members), 1, 1, 1) for frame in self._context(start)]
        init_time = self._data.valid_times[start]
        noise = ForecastNoise.of(
            self._manifest.model, self._manifest.noise, seed=self._evaluation.seed, init_time=init_time
        )
        states = islice(rollout(stepper, frames, noise.draw(members), init_time=init_time), steps[-1])
        return [state.cpu().numpy() for step, state in enumerate(states, start=1) if step in steps]

    def _context(self, start: int) -> tuple[Fields, ...]:
        return load_context(self._forecaster, self._data, start)

    def _record_residuals(self, start: int, members: list[Fields]) -> dict[str, dict[str, Any]]:
        """Return the record of the residuals of members, and of the truth as far as it is known without a gap."""
        known = [self._later(start, step - 1) for step in self._example_steps(start)[: len(members)]]
        truth = true_residuals(self._forecaster, self._data, np.array(known, np.int64))
        stacked = torch.stack(members).cpu().numpy()[:, : self._evaluation.num_members]
        return record_residuals(truth, stacked, self._manifest.model.variable_names, self._data.grid)

    def _score_warm_start(self, start: int) -> dict[str, Any]:
        """Return scores of the warm start's own Gaussian at the first time step, by variable."""
        fields = self._forecaster.warm_start(self._context(start), self._data.valid_times[start])
        mean, std = (field[0].cpu() for field in fields)
        truth = torch.from_numpy(self._frame(self._later(start, 1)))
        return {
            name: score_gaussian(mean[channel], std[channel], truth[channel], self._data.grid)
            for channel, name in enumerate(self._manifest.model.variable_names)
        }
