"""A checkpoint against held-out weather: forecasts from many starts, scored beside persistence and climatology."""

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

from diagnostics.comparison import References, combine_starts, score_lead_time
from diagnostics.figures.example import Example
from diagnostics.records import score_gaussian
from diagnostics.summary import aggregate_numbers
from models.forecaster import Forecaster
from models.rollout import rollout
from storage.atomic import write_text
from storage.errors import ConfigurationError
from training.dataset import WeatherSeries
from weather.climatology import climatology_indices
from weather.errors import TrainingDataError
from weather.manifest import Manifest

RECORDS_FORMAT = 2
"""Changes when records of an earlier build can no longer be gone on with."""


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated: starts evenly spread over `years`, members in groups, lead times of one time step."""

    years: tuple[int, ...]
    num_starts: int
    num_members: int
    num_lead_times: int
    group_size: int
    seed: int


def start_indices(series: WeatherSeries, evaluation: Evaluation) -> NDArray[np.int64]:
    """Return the frames that forecasts start from; raises `TrainingDataError` where fewer have all their truth."""
    within = series.triples(evaluation.years)
    last = evaluation.num_lead_times
    step = series.time_step
    usable = [
        index
        for index in within
        if index + last < len(series.valid_times)
        and series.valid_times[index + last] - series.valid_times[index] == last * step
    ]
    if len(usable) < evaluation.num_starts:
        raise TrainingDataError(
            f"`starts` must be at most {len(usable)}, the frames of {list(evaluation.years)} with {last} frames of "
            f"truth after them. Got: {evaluation.num_starts}. The data runs from {series.valid_times[0]} to "
            f"{series.valid_times[-1]}."
        )
    places = np.linspace(0, len(usable) - 1, evaluation.num_starts).round().astype(np.int64)
    return np.asarray(usable, np.int64)[places]


def evaluate(
    forecaster: Forecaster,
    manifest: Manifest,
    series: WeatherSeries,
    evaluation: Evaluation,
    records_path: Path,
    tell: Callable[[int, int], None],
    announce: Callable[[float], None],
) -> dict[str, Any]:
    """Score every start, keep its record in `records_path` (a line each) as soon as it is done, and summarise them.

    Goes on where an interrupted evaluation of the same settings stopped. `tell` hears starts done and in all;
    `announce` hears, before the first, about how many seconds all of them will take.
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
    _past(manifest, series, int(starts[0]), evaluation.num_lead_times)
    records = _resumed(records_path, settings)
    announce(_seconds_a_start(forecaster, series, evaluation, int(starts[0])) * (len(starts) - len(records)))
    with records_path.open("a") as lines:
        if not records:
            lines.write(json.dumps(settings) + "\n")
        for index in starts[len(records) :]:
            records.append(_record(forecaster, manifest, series, evaluation, int(index)))
            lines.write(json.dumps(records[-1]) + "\n")
            lines.flush()
            tell(len(records), len(starts))
    return {"settings": settings, "checkpoint": manifest.name} | _summary(records, evaluation)


def _resumed(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of an interrupted evaluation; a line that was cut off is dropped from the file."""
    if not path.exists():
        return []
    complete = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    write_text(path, "".join(complete))
    if not complete:
        return []
    if json.loads(complete[0]) != settings:
        raise ConfigurationError(f"`{path}` holds an evaluation of other settings; choose another output.")
    return [json.loads(line) for line in complete[1:]]


def example(forecaster: Forecaster, manifest: Manifest, series: WeatherSeries, evaluation: Evaluation) -> Example:
    """Return the forecast from the first start with what came, for pictures; it is computed once more."""
    start = int(start_indices(series, evaluation)[0])
    members = np.stack(list(_lead_times(forecaster, series, evaluation, start)))
    came = series.frames[start + 1 : start + 1 + evaluation.num_lead_times]
    return Example.from_fields(
        members, came, manifest.model.variable_names, series.grid, series.valid_times[start], series.time_step
    )


def _record(
    forecaster: Forecaster, manifest: Manifest, series: WeatherSeries, evaluation: Evaluation, start: int
) -> dict[str, Any]:
    """Return the records of every lead time of the forecast from one start, and of its warm start."""
    spec = manifest.model
    lead_times = {}
    for lead, members in enumerate(_lead_times(forecaster, series, evaluation, start), start=1):
        lead_times[lead * spec.time_step_hours] = score_lead_time(
            members,
            series.frames[start + lead],
            References(series.frames[start], _past(manifest, series, start, lead)),
            spec.variable_names,
            [variable.std for variable in spec.variables],
            series.grid,
            series.valid_times[start + lead],
            (evaluation.seed, start, lead),
        )
    return {
        "start": str(series.valid_times[start]),
        "lead_times": lead_times,
        "warm_start": _warm_start(forecaster, series, start),
    }


def _past(manifest: Manifest, series: WeatherSeries, start: int, lead: int) -> NDArray[np.float32]:
    """Return the states of climatology for a lead time; raises `TrainingDataError` where the data has too few."""
    years = manifest.provenance.train_years
    return series.frames[climatology_indices(series.valid_times, series.valid_times[start + lead], years)]


def _lead_times(
    forecaster: Forecaster, series: WeatherSeries, evaluation: Evaluation, start: int
) -> Iterator[NDArray[np.float32]]:
    """Yield all members of each lead time from one start, (member, variable, latitude, longitude)."""
    groups = [
        _states(forecaster, series, evaluation, start, first)
        for first in range(0, evaluation.num_members, evaluation.group_size)
    ]
    for parts in zip(*groups, strict=True):
        yield np.concatenate(parts)[: evaluation.num_members]


def _warm_start(forecaster: Forecaster, series: WeatherSeries, start: int) -> dict[str, Any]:
    """Return how well the warm start's own Gaussian fits the first lead time, by variable."""
    previous, newest = (torch.from_numpy(series.frames[[start + shift]]).to(forecaster.device) for shift in (-1, 0))
    mean, std = forecaster.warm_start(previous, newest, series.valid_times[start])
    return {
        name: score_gaussian(mean[0, channel].cpu(), std[0, channel].cpu(), torch.from_numpy(truth), series.grid)
        for channel, (name, truth) in enumerate(
            zip(forecaster.spec.variable_names, series.frames[start + 1], strict=True)
        )
    }


def _states(
    forecaster: Forecaster, series: WeatherSeries, evaluation: Evaluation, start: int, first: int
) -> list[NDArray[np.float32]]:
    """Return all lead times of the group of members that begins with `first`."""
    members = list(range(first, first + evaluation.group_size))
    previous, newest = (
        torch.from_numpy(series.frames[start + shift]).to(forecaster.device).repeat(len(members), 1, 1, 1)
        for shift in (-1, 0)
    )
    states = rollout(
        forecaster, previous, newest,
        members=members, seed=evaluation.seed, init_time=series.valid_times[start],
    )  # fmt: skip
    return [state.cpu().numpy() for state in islice(states, evaluation.num_lead_times)]


def _seconds_a_start(forecaster: Forecaster, series: WeatherSeries, evaluation: Evaluation, start: int) -> float:
    """Return about how long one start takes: the second step of one group, times all steps and groups."""
    group = replace(evaluation, num_lead_times=1)
    _states(forecaster, series, group, start, 0)
    started = time.perf_counter()
    _states(forecaster, series, group, start, 0)
    groups = -(-evaluation.num_members // evaluation.group_size)
    return (time.perf_counter() - started) * groups * evaluation.num_lead_times


def _summary(records: Sequence[dict[str, Any]], evaluation: Evaluation) -> dict[str, Any]:
    """Return scores by lead time over all starts, and how well the warm starts fit."""
    starts = [{int(hours): scores for hours, scores in record["lead_times"].items()} for record in records]
    fits = [record["warm_start"] for record in records]
    draw = np.random.default_rng(evaluation.seed)
    warm_start = {
        name: aggregate_numbers([fit[name] for fit in fits], ["coverage_50", "coverage_90"], draw) for name in fits[0]
    }
    return combine_starts(starts, evaluation.num_members, evaluation.seed) | {"warm_start": warm_start}
