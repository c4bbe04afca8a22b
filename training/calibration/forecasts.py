"""Forecasts that are made for a calibration, again and again from the same starts with the same random numbers."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.noise import ForecastNoise
from models.rollout import rollout
from training.calibration.identity import digest_without_noise
from training.data.training_data import TrainingData
from training.evaluation.context import load_context
from training.evaluation.settings import Evaluation, start_indices
from training.evaluation.subject import Subject
from weather.manifest import WHITE, ModelSpec, NoiseSpec


@dataclass(frozen=True)
class Verified:
    """Members (member, variable, latitude, longitude) after `steps` time steps, and their truth without members."""

    steps: int
    members: Tensor
    truth: Tensor


class Forecasts:
    """Forecasts of a checkpoint; starts, members and lead times are `evaluation`'s.

    Members have the same white noise whenever they are computed, so that differences are not those between draws.
    Of a short record, starts have truth at the first lead time, and at some of the others. Raises `TrainingDataError`
    if there are fewer starts than `evaluation` says.
    """

    def __init__(self, subject: Subject, data: TrainingData, evaluation: Evaluation) -> None:
        self.evaluation, self._data, self._subject = evaluation, data, subject
        self.starts = start_indices(data, evaluation, partial=True)

    @property
    def spec(self) -> ModelSpec:
        """The specification of the checkpoint's model."""
        return self._subject.manifest.model

    def settings(self) -> dict[str, Any]:
        """Return what the forecasts depend on besides their noise, as JSON; the noise of the checkpoint is left out."""
        return {
            "checkpoint": digest_without_noise(self._subject.manifest),
            "starts": [str(time) for time in self._data.valid_times[self.starts]],
            "members": self.evaluation.num_members,
            "lead_hours": list(self.lead_hours),
            "seed": self.evaluation.seed,
        }

    @property
    def lead_hours(self) -> tuple[int, ...]:
        """The lead times that are verified, in hours."""
        return tuple(steps * self.spec.time_step_hours for steps in self.evaluation.lead_steps)

    def count_starts(self, lead_steps: Sequence[int]) -> int:
        """Return the number of starts that have truth at some of these lead times."""
        return sum(bool(self._truth_indices(start).keys() & set(lead_steps)) for start in self.starts)

    @property
    def evaluations(self) -> int:
        """Evaluations of networks for all starts, those of the warm start included, each for one member."""
        sampling = self._subject.forecaster.sampling
        return self._time_steps * self.evaluation.num_members * sampling.network_evaluations

    def report_cost(self, times: int, report: Callable[[float, int], None]) -> None:
        """Report the seconds and evaluations of networks of computing all forecasts so many times; nothing for none.

        The seconds are those of one step of a group of members, after one to warm up.
        """
        if times <= 0:
            return
        group = min(self.evaluation.group_size, self.evaluation.num_members)
        seconds = 0.0
        for _ in range(2):
            began = time.perf_counter()
            self._compute_group(self.starts[0], WHITE, range(group), 1)
            seconds = time.perf_counter() - began
        groups = self.evaluation.num_members / group
        report(times * seconds * groups * self._time_steps, times * self.evaluations)

    def compute(self, start: int, noise: NoiseSpec) -> Iterator[Verified]:
        """Yield the forecast from a start, at the lead times that are verified and have truth."""
        truth = self._truth_indices(start)
        size, members = self.evaluation.group_size, range(self.evaluation.num_members)
        parts = [members[first : first + size] for first in members[::size]]
        groups = [self._compute_group(start, noise, part, max(truth)) for part in parts]
        for steps, index in truth.items():
            target = torch.from_numpy(self._data.frames(np.array([index]))[0])
            yield Verified(steps, torch.cat([group[steps] for group in groups]), target)

    def _truth_indices(self, start: int) -> dict[int, int]:
        """Return the index of the truth of a start at each lead time that is verified and has truth."""
        years, position = self.evaluation.years, np.array([start])
        indices = {steps: int(self._data.shift(position, steps, years)[0]) for steps in self.evaluation.lead_steps}
        return {steps: index for steps, index in indices.items() if index >= 0}

    @property
    def _time_steps(self) -> int:
        """The time steps of the forecasts from all starts, each as long as it has truth."""
        return sum(max(self._truth_indices(start)) for start in self.starts)

    def _compute_group(self, start: int, noise: NoiseSpec, members: Sequence[int], num_steps: int) -> dict[int, Tensor]:
        """Return the states of members at the lead times that are verified, by their number of time steps."""
        forecaster, init_time = self._subject.forecaster, self._data.valid_times[start]
        frames = [each.expand(len(members), -1, -1, -1) for each in load_context(forecaster, self._data, start)]
        drawn = ForecastNoise.of(self.spec, noise, seed=self.evaluation.seed, init_time=init_time).draw(members)
        states = enumerate(islice(rollout(forecaster, frames, drawn, init_time=init_time), num_steps), start=1)
        return {steps: fields.cpu() for steps, fields in states if steps in self.evaluation.lead_steps}
