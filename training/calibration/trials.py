"""Trials of noise: forecasts with it from the same starts, with the same random numbers, and their scores."""

import math
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from models.noise import ForecastNoise
from models.rollout import rollout
from training.data.training_data import TrainingData
from training.evaluation.settings import Evaluation, start_indices
from training.evaluation.subject import Subject
from training.validation_records import Record, combine_records, score_members
from weather.manifest import WHITE, NoiseSpec

_FORMAT = 1
"""Version of the file of trials."""

Trial = Mapping[str, Any]
"""The parameters of a `noise`, and for each of the `lead_times` the scores of each variable; as JSON."""


class Trials:
    """Forecasts of a checkpoint with one noise after another; starts, members and lead times are `evaluation`'s.

    Members have the same white noise in all trials, so that differences between trials are not those between draws.
    Of a short record, starts have truth at the first lead time, and at some of the others. Raises `TrainingDataError`
    if there are fewer starts than `evaluation` says.
    """

    def __init__(self, subject: Subject, data: TrainingData, evaluation: Evaluation) -> None:
        self.evaluation, self.sampling = evaluation, subject.forecaster.sampling
        self._subject, self._data, self._spec = subject, data, subject.manifest.model
        self._starts = start_indices(data, evaluation, partial=True)

    def settings(self) -> dict[str, Any]:
        """Return what trials depend on besides their noise, as JSON; the noise of the checkpoint does not matter."""
        return {
            "trials_format": _FORMAT,
            "checkpoint": self._subject.manifest.model_copy(update={"noise": WHITE}).digest,
            "starts": [str(time) for time in self._data.valid_times[self._starts]],
            "members": self.evaluation.num_members,
            "lead_hours": list(self.lead_hours),
            "seed": self.evaluation.seed,
        }

    @property
    def lead_hours(self) -> tuple[int, ...]:
        """The lead times that are scored, in hours."""
        return tuple(steps * self._spec.time_step_hours for steps in self.evaluation.lead_steps)

    @property
    def evaluations(self) -> int:
        """Evaluations of networks in a trial, those of the warm start included, each for one member."""
        return self._time_steps * self.evaluation.num_members * self.sampling.network_evaluations

    def measure_seconds(self) -> float:
        """Return an estimate of the seconds of a trial, from one step of one group of members after one to warm up."""
        group = min(self.evaluation.group_size, self.evaluation.num_members)
        seconds = 0.0
        for _ in range(2):
            began = time.perf_counter()
            self._forecast_group(self._starts[0], WHITE, range(group), 1)
            seconds = time.perf_counter() - began
        groups = self.evaluation.num_members / group
        return seconds * groups * self._time_steps

    def score(self, noise: NoiseSpec) -> dict[str, Any]:
        """Return the trial of a noise; scores of forecasts that lost a member are None."""
        by_step: dict[int, list[Record]] = {}
        for start in self._starts:
            for steps, record in self._score_start(start, noise).items():
                by_step.setdefault(steps, []).append(record)
        return {
            "noise": noise.parameters,
            "lead_times": [self._combine(steps, by_step[steps]) for steps in sorted(by_step)],
        }

    def _combine(self, steps: int, records: Sequence[Record]) -> dict[str, Any]:
        """Return the scores at a lead time, by variable, and the number of starts that have truth at it."""
        names, hours = self._spec.variable_names, steps * self._spec.time_step_hours
        scores = combine_records(records, self._spec.variables, self._spec.time_step_hours, self.evaluation.num_members)
        return {
            "lead_hours": hours,
            "starts": len(records),
            "crps": [_finite(scores[f"crps_{hours}h_{name}"]) for name in names],
            "spread_skill": [_finite(scores[f"spread_skill_{hours}h_{name}"]) for name in names],
        }

    def _score_start(self, start: int, noise: NoiseSpec) -> dict[int, Record]:
        """Return the records of the forecast from a start, at the lead times that are scored and have truth."""
        truth = self._truth_indices(start)
        size, members = self.evaluation.group_size, range(self.evaluation.num_members)
        parts = [members[first : first + size] for first in members[::size]]
        groups = [self._forecast_group(start, noise, part, max(truth)) for part in parts]
        records = {}
        for steps, index in truth.items():
            fields = torch.cat([group[steps] for group in groups])
            target = torch.from_numpy(self._data.frames(np.array([index]))[0])
            records[steps] = score_members(steps, fields, target, self._data.grid)
        return records

    def _truth_indices(self, start: int) -> dict[int, int]:
        """Return the index of the truth of a start at each lead time that is scored and has truth."""
        years, position = self.evaluation.years, np.array([start])
        indices = {steps: int(self._data.shift(position, steps, years)[0]) for steps in self.evaluation.lead_steps}
        return {steps: index for steps, index in indices.items() if index >= 0}

    @property
    def _time_steps(self) -> int:
        """The time steps of the forecasts from all starts, each as long as it has truth."""
        return sum(max(self._truth_indices(start)) for start in self._starts)

    def _forecast_group(
        self, start: int, noise: NoiseSpec, members: Sequence[int], num_steps: int
    ) -> dict[int, torch.Tensor]:
        """Return the states of members at the lead times that are scored, by their number of time steps."""
        forecaster, init_time = self._subject.forecaster, self._data.valid_times[start]
        ages = range(forecaster.spec.context_frames)
        context = [self._data.frames(self._data.shift(np.array([start]), -age)) for age in ages]
        frames = [torch.from_numpy(frame).to(forecaster.device).expand(len(members), -1, -1, -1) for frame in context]
        drawn = ForecastNoise.of(self._spec, noise, seed=self.evaluation.seed, init_time=init_time).draw(members)
        states = enumerate(islice(rollout(forecaster, frames, drawn, init_time=init_time), num_steps), start=1)
        return {steps: fields.cpu() for steps, fields in states if steps in self.evaluation.lead_steps}


def objective(trial: Trial, white: Trial, spread_weight: float) -> float:
    """Return J = ⟨CRPS / CRPS_white⟩ + `spread_weight` · ⟨ln²(spread ÷ skill)⟩; infinite if a member was lost.

    ⟨·⟩ is the mean over lead times, weighted by their number of starts, and variables; the CRPS is fair and CRPS_white
    that of the trial `white` at the same lead time. A ratio of 1 ± 0.1 adds `spread_weight` · 0.01.
    """
    weights = [row["starts"] for row in trial["lead_times"]]
    crps, reference, ratio = (
        np.array([row[name] for row in of["lead_times"]], np.float64)
        for of, name in ((trial, "crps"), (white, "crps"), (trial, "spread_skill"))
    )
    parts = crps / reference + spread_weight * np.log(ratio) ** 2
    value = float(np.average(parts.mean(axis=1), weights=weights))
    return value if math.isfinite(value) else math.inf


def _finite(score: Any) -> float | None:
    return float(score) if math.isfinite(score) else None
