"""The evaluation of a checkpoint on held-out data: scores of forecasts, persistence and climatology."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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

RECORDS_FORMAT = 2
"""Version of the records; raised when an evaluation cannot be resumed from records of an earlier build."""


@dataclass(frozen=True)
class Evaluation:
    """The forecasts of an evaluation: from starts evenly spread over `years`, members computed in groups."""

    years: tuple[int, ...]
    num_starts: int
    num_members: int
    num_lead_times: int
    group_size: int
    seed: int


def start_indices(series: WeatherSeries, evaluation: Evaluation) -> NDArray[np.int64]:
    """Return the indices of the initial frames.

    Raises `TrainingDataError` where fewer than `num_starts` frames have truth at all lead times.
    """
    candidates = series.middle_indices(evaluation.years)
    last = evaluation.num_lead_times
    step = series.time_step
    usable = [
        index
        for index in candidates
        if index + last < len(series.valid_times)
        and series.valid_times[index + last] - series.valid_times[index] == last * step
    ]
    if len(usable) < evaluation.num_starts:
        raise TrainingDataError(
            f"`starts` must be at most {len(usable)}, the frames of {list(evaluation.years)} with {last} frames of "
            f"truth after them. Got: {evaluation.num_starts}. The data runs from {series.valid_times[0]} to "
            f"{series.valid_times[-1]}."
        )
    chosen = np.linspace(0, len(usable) - 1, evaluation.num_starts).round().astype(np.int64)
    return np.asarray(usable, np.int64)[chosen]


def evaluate(
    forecaster: Forecaster,
    manifest: Manifest,
    series: WeatherSeries,
    evaluation: Evaluation,
    records_path: Path,
    report_progress: Callable[[int, int], None],
    report_duration: Callable[[float], None],
) -> dict[str, Any]:
    """Score the forecast from each start and return the scores over all starts.

    Each start's record is appended to `records_path` as a line of JSON; an interrupted evaluation of the same settings
    is resumed from it. `report_progress` is called after each start with the number of starts done and of all starts,
    `report_duration` once before the first with an estimate of the seconds for all of them.
    """
    starts = start_indices(series, evaluation)
    settings = {
        "records_format": RECORDS_FORMAT,
        "checkpoint": manifest.digest,
        "years": list(evaluation.years),
        "members": evaluation.num_members,
        "lead_times": evaluation.num_lead_times,
        "group_size": evaluation.group_size,
        "seed": evaluation.seed,
        "starts": [str(series.valid_times[index]) for index in starts],
        **forecaster.sampling.model_dump(mode="json"),
    }
    _climatology_states(manifest, series, int(starts[0]), evaluation.num_lead_times)
    records = _read_records(records_path, settings)
    seconds_per_start = _measure_start(forecaster, series, evaluation, int(starts[0]))
    report_duration(seconds_per_start * (len(starts) - len(records)))
    with records_path.open("a") as lines:
        if not records:
            lines.write(json.dumps(settings) + "\n")
        for index in starts[len(records) :]:
            records.append(_score_start(forecaster, manifest, series, evaluation, int(index)))
            lines.write(json.dumps(records[-1]) + "\n")
            lines.flush()
            report_progress(len(records), len(starts))
    return {"settings": settings, "checkpoint": manifest.name} | _combine_records(records, evaluation)


def _read_records(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of an interrupted evaluation, after removing an incomplete last line from the file."""
    if not path.exists():
        return []
    complete = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    write_text(path, "".join(complete))
    if not complete:
        return []
    if json.loads(complete[0]) != settings:
        raise ConfigurationError(f"`{path}` holds an evaluation of other settings; choose another output.")
    return [json.loads(line) for line in complete[1:]]


def compute_example(
    forecaster: Forecaster, manifest: Manifest, series: WeatherSeries, evaluation: Evaluation
) -> Example:
    """Compute the forecast from the first start again, and return it with its truth, for pictures."""
    start = int(start_indices(series, evaluation)[0])
    members = np.stack(list(_forecast(forecaster, series, evaluation, start)))
    truth = series.frames[start + 1 : start + 1 + evaluation.num_lead_times]
    return Example.from_fields(
        members, truth, manifest.model.variable_names, series.grid, series.valid_times[start], series.time_step
    )


def _score_start(
    forecaster: Forecaster, manifest: Manifest, series: WeatherSeries, evaluation: Evaluation, start: int
) -> dict[str, Any]:
    """Return the records of every lead time of the forecast from one start, and of its warm start."""
    spec = manifest.model
    lead_times = {}
    for lead, members in enumerate(_forecast(forecaster, series, evaluation, start), start=1):
        lead_times[lead * spec.time_step_hours] = score_lead_time(
            members,
            series.frames[start + lead],
            References(series.frames[start], _climatology_states(manifest, series, start, lead)),
            spec.variable_names,
            [variable.std for variable in spec.variables],
            series.grid,
            series.valid_times[start + lead],
            (evaluation.seed, start, lead),
        )
    return {
        "start": str(series.valid_times[start]),
        "lead_times": lead_times,
        "warm_start": _score_warm_start(forecaster, series, start),
    }


def _climatology_states(manifest: Manifest, series: WeatherSeries, start: int, lead: int) -> NDArray[np.float32]:
    """Return the states of climatology for a lead time; raises `TrainingDataError` where the data holds too few."""
    years = manifest.provenance.train_years
    return series.frames[climatology_indices(series.valid_times, series.valid_times[start + lead], years)]


def _forecast(
    forecaster: Forecaster, series: WeatherSeries, evaluation: Evaluation, start: int
) -> Iterator[NDArray[np.float32]]:
    """Yield all members of each lead time of the forecast from one start, (member, variable, latitude, longitude)."""
    groups = [
        _forecast_group(forecaster, series, evaluation, start, first)
        for first in range(0, evaluation.num_members, evaluation.group_size)
    ]
    for parts in zip(*groups, strict=True):
        yield np.concatenate(parts)[: evaluation.num_members]


def _score_warm_start(forecaster: Forecaster, series: WeatherSeries, start: int) -> dict[str, Any]:
    """Return scores of the warm start's own Gaussian at the first lead time, by variable."""
    previous, newest = (torch.from_numpy(series.frames[[start + shift]]).to(forecaster.device) for shift in (-1, 0))
    mean, std = forecaster.warm_start(previous, newest, series.valid_times[start])
    return {
        name: score_gaussian(mean[0, channel].cpu(), std[0, channel].cpu(), torch.from_numpy(truth), series.grid)
        for channel, (name, truth) in enumerate(
            zip(forecaster.spec.variable_names, series.frames[start + 1], strict=True)
        )
    }


def _forecast_group(
    forecaster: Forecaster, series: WeatherSeries, evaluation: Evaluation, start: int, first: int
) -> list[NDArray[np.float32]]:
    """Return all lead times of the group of members whose first one is `first`."""
    members = list(range(first, first + evaluation.group_size))
    previous, newest = (
        torch.from_numpy(series.frames[start + shift]).to(forecaster.device).repeat(len(members), 1, 1, 1)
        for shift in (-1, 0)
    )
    init_time = series.valid_times[start]
    states = rollout(forecaster, previous, newest, members=members, seed=evaluation.seed, init_time=init_time)
    return [state.cpu().numpy() for state in islice(states, evaluation.num_lead_times)]


def _measure_start(forecaster: Forecaster, series: WeatherSeries, evaluation: Evaluation, start: int) -> float:
    """Return an estimate of the seconds that one start takes, from one time step of one group after a warm-up step."""
    group = replace(evaluation, num_lead_times=1)
    _forecast_group(forecaster, series, group, start, 0)
    started = time.perf_counter()
    _forecast_group(forecaster, series, group, start, 0)
    groups = -(-evaluation.num_members // evaluation.group_size)
    return (time.perf_counter() - started) * groups * evaluation.num_lead_times


def _combine_records(records: Sequence[dict[str, Any]], evaluation: Evaluation) -> dict[str, Any]:
    """Return scores by lead time over all starts, and scores of the warm starts."""
    starts = [{int(hours): scores for hours, scores in record["lead_times"].items()} for record in records]
    fits = [record["warm_start"] for record in records]
    draw = np.random.default_rng(evaluation.seed)
    warm_start = {
        name: aggregate_numbers([fit[name] for fit in fits], ["coverage_50", "coverage_90"], draw) for name in fits[0]
    }
    return combine_starts(starts, evaluation.num_members, evaluation.seed) | {"warm_start": warm_start}
