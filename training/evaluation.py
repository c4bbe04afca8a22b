"""The evaluation of a checkpoint on held-out data: scores of forecasts, persistence and climatology."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.evaluation.comparison import References, combine_starts, score_lead_time
from diagnostics.evaluation.records import score_gaussian
from diagnostics.evaluation.resampling import aggregate_numbers
from diagnostics.figures.example import Example
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from models.rollout import rollout
from models.shapes import Fields
from storage.atomic import write_text
from storage.errors import ConfigurationError
from training.data.training_data import TrainingData
from weather.climatology import climatology_indices
from weather.errors import TrainingDataError
from weather.manifest import Manifest
from weather.periods import Period, format_periods
from weather.stores.layout import count_groups

RECORDS_FORMAT = 3
"""Version of the records file; an evaluation is not resumed from records of another version."""


@dataclass(frozen=True)
class Evaluation:
    """The settings of an evaluation: starts evenly spread over `years`, members computed in groups of `group_size`."""

    years: tuple[Period, ...]
    num_starts: int
    num_members: int
    num_lead_times: int
    group_size: int
    seed: int


class Evaluator:
    """Forecasts from held-out starts, and their scores; the climatology is of the checkpoint's training years.

    Raises `TrainingDataError` if fewer than `num_starts` frames have truth at all lead times, or if the data
    holds too few states for the climatology of the last lead time of a start.
    """

    def __init__(self, forecaster: Forecaster, manifest: Manifest, data: TrainingData, evaluation: Evaluation) -> None:
        self._forecaster, self._manifest, self._data, self._evaluation = forecaster, manifest, data, evaluation
        self.starts = start_indices(data, evaluation)
        for start in self.starts:
            self._climatology_indices(self._later(start, evaluation.num_lead_times))

    def run(
        self,
        records_path: Path,
        report_progress: Callable[[int, int], None],
        report_duration: Callable[[float], None],
    ) -> dict[str, Any]:
        """Score the forecast from each start and return the scores over all starts.

        Each start's record is appended to `records_path` as a line of JSON; an interrupted evaluation of the same
        settings is resumed from it. `report_progress` is called after each start with the number of starts done and of
        all starts, `report_duration` once before the first with an estimate of the remaining seconds.
        """
        settings = self.settings()
        records = _read_records(records_path, settings)
        report_duration(self.measure_seconds_per_start() * (len(self.starts) - len(records)))
        with records_path.open("a") as lines:
            if not records:
                lines.write(json.dumps(settings) + "\n")
            for start in self.starts[len(records) :]:
                records.append(self.score(start))
                lines.write(json.dumps(records[-1]) + "\n")
                lines.flush()
                report_progress(len(records), len(self.starts))
        return {"settings": settings, "checkpoint": self._manifest.name} | _combine_records(records, self._evaluation)

    def settings(self) -> dict[str, Any]:
        """Return the settings that the scores depend on, as JSON."""
        return {
            "records_format": RECORDS_FORMAT,
            "checkpoint": self._manifest.digest,
            "years": list(self._evaluation.years),
            "members": self._evaluation.num_members,
            "lead_times": self._evaluation.num_lead_times,
            "group_size": self._evaluation.group_size,
            "seed": self._evaluation.seed,
            "starts": [str(self._data.valid_times[start]) for start in self.starts],
            **self._forecaster.sampling.model_dump(mode="json"),
        }

    def measure_seconds_per_start(self) -> float:
        """Return an estimate of the seconds for one start, from one step of one group after a warm-up step."""
        self._forecast_group(self.starts[0], 0, 1)
        began = time.perf_counter()
        self._forecast_group(self.starts[0], 0, 1)
        seconds = time.perf_counter() - began
        num_groups = count_groups(self._evaluation.num_members, self._evaluation.group_size)
        return seconds * num_groups * self._evaluation.num_lead_times

    def score(self, start: int) -> dict[str, Any]:
        """Return the records of all lead times of the forecast from frame `start`, and of its warm start."""
        spec, data = self._manifest.model, self._data
        lead_times, initial = {}, self._frame(start)
        for steps, members in enumerate(self._forecast(start), start=1):
            index = self._later(start, steps)
            lead_times[steps * spec.time_step_hours] = score_lead_time(
                members,
                self._frame(index),
                References(initial, data.frames(self._climatology_indices(index))),
                spec.variable_names,
                [variable.std for variable in spec.variables],
                data.grid,
                data.valid_times[index],
                (self._evaluation.seed, start, steps),
            )
        return {
            "start": str(data.valid_times[start]),
            "lead_times": lead_times,
            "warm_start": self._score_warm_start(start),
        }

    def compute_example(self) -> Example:
        """Return the forecast from the first start with its truth, for pictures."""
        data, start = self._data, self.starts[0]
        truth = [self._later(start, steps) for steps in range(1, self._evaluation.num_lead_times + 1)]
        return Example.from_fields(
            np.stack(list(self._forecast(start))),
            data.frames(np.array(truth)),
            self._manifest.model.variable_names,
            data.grid,
            data.valid_times[start],
            data.time_step,
        )

    def _later(self, index: int, steps: int) -> int:
        """Return the index of the frame that is some time steps after another one; all starts have them."""
        return int(self._data.shift(np.array([index]), steps)[0])

    def _frame(self, index: int) -> NDArray[np.float32]:
        frame: NDArray[np.float32] = self._data.frames(np.array([index]))[0]
        return frame

    def _climatology_indices(self, index: int) -> NDArray[np.int64]:
        """Return the indices of the states of climatology for the date of a frame."""
        times, years = self._data.valid_times, self._manifest.provenance.train_years
        return climatology_indices(times, times[index], years)

    def _forecast(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield all members of each lead time, (member, variable, latitude, longitude)."""
        num_members, group_size = self._evaluation.num_members, self._evaluation.group_size
        num_lead_times = self._evaluation.num_lead_times
        groups = [self._forecast_group(start, first, num_lead_times) for first in range(0, num_members, group_size)]
        for parts in zip(*groups, strict=True):
            yield np.concatenate(parts)[:num_members]

    def _forecast_group(self, start: int, first: int, num_lead_times: int) -> list[NDArray[np.float32]]:
        """Return the lead times of the group of members whose first one is `first`."""
        members = range(first, first + self._evaluation.group_size)
        frames = [frame.repeat(len(members), 1, 1, 1) for frame in self._context(start)]
        init_time = self._data.valid_times[start]
        noise = ForecastNoise.of(
            self._manifest.model, self._manifest.noise, seed=self._evaluation.seed, init_time=init_time
        )
        states = rollout(self._forecaster, frames, noise.draw(members), init_time=init_time)
        return [state.cpu().numpy() for state in islice(states, num_lead_times)]

    def _context(self, start: int) -> list[Fields]:
        """Return the frames of the context, newest first, each with one member, on the device."""
        ages = range(self._forecaster.spec.context_frames)
        frames = self._data.frames(np.array([self._later(start, -age) for age in ages]))
        return list(torch.from_numpy(frames[:, None]).to(self._forecaster.device))

    def _score_warm_start(self, start: int) -> dict[str, Any]:
        """Return scores of the warm start's own Gaussian at the first lead time, by variable."""
        fields = self._forecaster.warm_start(self._context(start), self._data.valid_times[start])
        mean, std = (field[0].cpu() for field in fields)
        truth = torch.from_numpy(self._frame(self._later(start, 1)))
        return {
            name: score_gaussian(mean[channel], std[channel], truth[channel], self._data.grid)
            for channel, name in enumerate(self._manifest.model.variable_names)
        }


def start_indices(data: TrainingData, evaluation: Evaluation) -> list[int]:
    """Return the indices of the initial frames.

    Raises `TrainingDataError` if fewer than `num_starts` frames have truth at all lead times.
    """
    last, times = evaluation.num_lead_times, data.valid_times
    samples = data.sample_indices(evaluation.years)
    has_truth = np.all([data.shift(samples, steps) >= 0 for steps in range(1, last + 1)], axis=0)
    usable = samples[has_truth].tolist()
    if len(usable) < evaluation.num_starts:
        raise TrainingDataError(
            f"`starts` must be at most {len(usable)}, the frames of {format_periods(evaluation.years)} with "
            f"{last} frames of truth after them. Got: {evaluation.num_starts}. The data runs from {times[0]} to "
            f"{times[-1]}."
        )
    chosen = np.linspace(0, len(usable) - 1, evaluation.num_starts).round().astype(np.int64)
    return [int(usable[position]) for position in chosen]


def _read_records(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of an interrupted evaluation, after removing an incomplete last line from the file."""
    if not path.exists():
        return []
    complete = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    try:
        stored = [json.loads(line) for line in complete]
    except ValueError as error:
        raise ConfigurationError(f"`{path}` is no file of records: {error}. Choose another output.") from error
    if stored and stored[0] != settings:
        raise ConfigurationError(f"`{path}` holds an evaluation of other settings; choose another output.")
    write_text(path, "".join(complete))
    return stored[1:]


def _combine_records(records: Sequence[dict[str, Any]], evaluation: Evaluation) -> dict[str, Any]:
    """Average the records of all starts: scores by lead time, and how well h fits the truth as `warm_start`."""
    starts = [{int(hours): scores for hours, scores in record["lead_times"].items()} for record in records]
    fits = [record["warm_start"] for record in records]
    rng = np.random.default_rng(evaluation.seed)
    warm_start = {
        name: aggregate_numbers([fit[name] for fit in fits], ["coverage_50", "coverage_90"], rng) for name in fits[0]
    }
    return combine_starts(starts, evaluation.num_members, evaluation.seed) | {"warm_start": warm_start}
