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
from models.rollout import rollout
from storage.atomic import write_text
from storage.errors import ConfigurationError
from training.dataset import WeatherSeries
from weather.climatology import climatology_indices
from weather.errors import TrainingDataError
from weather.manifest import Manifest
from weather.stores.layout import count_groups

RECORDS_FORMAT = 2
"""Version of the records file; an evaluation is not resumed from records of another version."""


@dataclass(frozen=True)
class Evaluation:
    """The settings of an evaluation: starts evenly spread over `years`, members computed in groups of `group_size`."""

    years: tuple[int, ...]
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

    def __init__(
        self, forecaster: Forecaster, manifest: Manifest, series: WeatherSeries, evaluation: Evaluation
    ) -> None:
        self._forecaster, self._manifest, self._series, self._evaluation = forecaster, manifest, series, evaluation
        self.starts = start_indices(series, evaluation)
        for start in self.starts:
            self._climatology_states(start + evaluation.num_lead_times)

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
            "starts": [str(self._series.valid_times[start]) for start in self.starts],
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
        spec, series = self._manifest.model, self._series
        lead_times = {}
        for steps, members in enumerate(self._forecast(start), start=1):
            lead_times[steps * spec.time_step_hours] = score_lead_time(
                members,
                series.frames[start + steps],
                References(series.frames[start], self._climatology_states(start + steps)),
                spec.variable_names,
                [variable.std for variable in spec.variables],
                series.grid,
                series.valid_times[start + steps],
                (self._evaluation.seed, start, steps),
            )
        return {
            "start": str(series.valid_times[start]),
            "lead_times": lead_times,
            "warm_start": self._score_warm_start(start),
        }

    def compute_example(self) -> Example:
        """Return the forecast from the first start with its truth, for pictures."""
        series, start = self._series, self.starts[0]
        return Example.from_fields(
            np.stack(list(self._forecast(start))),
            series.frames[start + 1 : start + 1 + self._evaluation.num_lead_times],
            self._manifest.model.variable_names,
            series.grid,
            series.valid_times[start],
            series.time_step,
        )

    def _climatology_states(self, index: int) -> NDArray[np.float32]:
        """Return the states of climatology for the date of a frame."""
        years = self._manifest.provenance.train_years
        chosen = climatology_indices(self._series.valid_times, self._series.valid_times[index], years)
        return self._series.frames[chosen]

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
        frames = [
            torch.from_numpy(self._series.frames[index]).to(self._forecaster.device).repeat(len(members), 1, 1, 1)
            for index in self._frame_indices(start)
        ]
        states = rollout(
            self._forecaster,
            frames,
            members=members,
            seed=self._evaluation.seed,
            init_time=self._series.valid_times[start],
        )
        return [state.cpu().numpy() for state in islice(states, num_lead_times)]

    def _frame_indices(self, start: int) -> range:
        """Return the indices of the frames of the context, newest first."""
        return range(start, start - self._forecaster.spec.context_frames, -1)

    def _score_warm_start(self, start: int) -> dict[str, Any]:
        """Return scores of the warm start's own Gaussian at the first lead time, by variable."""
        series, device = self._series, self._forecaster.device
        frames = [torch.from_numpy(series.frames[[index]]).to(device) for index in self._frame_indices(start)]
        mean, std = (field[0].cpu() for field in self._forecaster.warm_start(frames, series.valid_times[start]))
        truth = torch.from_numpy(series.frames[start + 1])
        return {
            name: score_gaussian(mean[channel], std[channel], truth[channel], series.grid)
            for channel, name in enumerate(self._manifest.model.variable_names)
        }


def start_indices(series: WeatherSeries, evaluation: Evaluation) -> list[int]:
    """Return the indices of the initial frames.

    Raises `TrainingDataError` if fewer than `num_starts` frames have truth at all lead times.
    """
    last, times = evaluation.num_lead_times, series.valid_times
    usable = [
        int(index)
        for index in series.middle_indices(evaluation.years)
        if index + last < len(times) and times[index + last] - times[index] == last * series.time_step
    ]
    if len(usable) < evaluation.num_starts:
        raise TrainingDataError(
            f"`starts` must be at most {len(usable)}, the frames of {list(evaluation.years)} with {last} frames of "
            f"truth after them. Got: {evaluation.num_starts}. The data runs from {times[0]} to {times[-1]}."
        )
    chosen = np.linspace(0, len(usable) - 1, evaluation.num_starts).round().astype(np.int64)
    return [usable[position] for position in chosen]


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
