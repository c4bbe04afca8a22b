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
    Raises `TrainingDataError` if there are fewer starts with truth than `evaluation` says.
    """

    def __init__(self, subject: Subject, data: TrainingData, evaluation: Evaluation) -> None:
        self.evaluation, self.sampling = evaluation, subject.forecaster.sampling
        self._subject, self._data, self._spec = subject, data, subject.manifest.model
        self._starts = start_indices(data, evaluation)

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
        evaluation = self.evaluation
        member_steps = len(self._starts) * evaluation.num_members * evaluation.num_lead_times
        return member_steps * self.sampling.network_evaluations

    def measure_seconds(self) -> float:
        """Return an estimate of the seconds of a trial, from one step of one group of members after one to warm up."""
        group = min(self.evaluation.group_size, self.evaluation.num_members)
        seconds = 0.0
        for _ in range(2):
            began = time.perf_counter()
            self._forecast_group(self._starts[0], WHITE, range(group), 1)
            seconds = time.perf_counter() - began
        groups = self.evaluation.num_members / group
        return seconds * groups * len(self._starts) * self.evaluation.num_lead_times

    def score(self, noise: NoiseSpec) -> dict[str, Any]:
        """Return the trial of a noise; scores of forecasts that lost a member are None."""
        records = [self._score_start(start, noise) for start in self._starts]
        scores = combine_records(records, self._spec.variables, self._spec.time_step_hours, self.evaluation.num_members)
        names = self._spec.variable_names
        return {
            "noise": noise.parameters,
            "lead_times": [
                {
                    "lead_hours": hours,
                    "crps": [_finite(scores[f"crps_{hours}h_{name}"]) for name in names],
                    "spread_skill": [_finite(scores[f"spread_skill_{hours}h_{name}"]) for name in names],
                }
                for hours in self.lead_hours
            ],
        }

    def _score_start(self, start: int, noise: NoiseSpec) -> Record:
        """Return the record of all lead times that are scored of the forecast from a start."""
        size, last = self.evaluation.group_size, self.evaluation.num_lead_times
        members = range(self.evaluation.num_members)
        groups = [self._forecast_group(start, noise, members[first : first + size], last) for first in members[::size]]
        record: Record = {}
        for steps in self.evaluation.lead_steps:
            fields = torch.cat([group[steps] for group in groups])
            truth = self._data.frames(self._data.shift(np.array([start]), steps))[0]
            record |= score_members(steps, fields, torch.from_numpy(truth), self._data.grid)
        return record

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

    ⟨·⟩ is the mean over lead times and variables; the CRPS is fair and CRPS_white that of the trial `white` with the
    same lead times. A ratio of 1 ± 0.1 adds `spread_weight` · 0.01.
    """
    crps, reference, ratio = (
        np.array([row[name] for row in of["lead_times"]], np.float64)
        for of, name in ((trial, "crps"), (white, "crps"), (trial, "spread_skill"))
    )
    value = float((crps / reference).mean() + spread_weight * (np.log(ratio) ** 2).mean())
    return value if math.isfinite(value) else math.inf


def _finite(score: Any) -> float | None:
    return float(score) if math.isfinite(score) else None
