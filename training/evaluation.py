"""A checkpoint against held-out weather: forecasts from many starts, scored beside persistence and climatology."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.arrays import area_mean
from diagnostics.crps import crps_fair
from diagnostics.energy import energy_score_fair
from diagnostics.records import bootstrap_interval, score_event, score_field, score_gaussian, summarise
from diagnostics.wind import WIND_SPEED, with_wind_speed
from models.forecaster import Forecaster
from models.rollout import rollout
from training.dataset import WeatherSeries
from weather.climatology import climatology_indices
from weather.errors import ConfigurationError, TrainingDataError
from weather.manifest import Manifest

CLIMATOLOGY_MEMBERS = 50
EVENT_SPEEDS = (10.0, 15.0)
"""Wind speeds in m s-1 whose exceedance is scored."""


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
            f"truth after them. Got: {evaluation.num_starts}."
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
        "checkpoint": manifest.digest,
        "years": list(evaluation.years),
        "members": evaluation.num_members,
        "lead_times": evaluation.num_lead_times,
        "group_size": evaluation.group_size,
        "seed": evaluation.seed,
        "starts": [str(series.valid_times[index]) for index in starts],
        **forecaster.sampling.model_dump(mode="json"),
    }
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
    return {"settings": settings, "checkpoint": manifest.name} | _summary(records, manifest, evaluation)


def _resumed(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of an interrupted evaluation; a line that was cut off is dropped from the file."""
    if not path.exists():
        return []
    complete = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    path.write_text("".join(complete))
    if not complete:
        return []
    if json.loads(complete[0]) != settings:
        raise ConfigurationError(f"`{path}` holds an evaluation of other settings; choose another output.")
    return [json.loads(line) for line in complete[1:]]


def _record(
    forecaster: Forecaster, manifest: Manifest, series: WeatherSeries, evaluation: Evaluation, start: int
) -> dict[str, Any]:
    """Return the scores of the forecast from one start: by variable, by lead time, with those of the references."""
    grid, years = series.grid, manifest.provenance.train_years
    variables = manifest.model.variable_names
    stds = np.array([variable.std for variable in manifest.model.variables])[:, None, None]
    start_fields, names = with_wind_speed(series.frames[start], variables)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    events: dict[str, list[dict[str, Any]]] = {f"{WIND_SPEED} > {speed:g}": [] for speed in EVENT_SPEEDS}
    energy = []
    groups = [
        _states(forecaster, series, evaluation, start, first)
        for first in range(0, evaluation.num_members, evaluation.group_size)
    ]
    for lead, parts in enumerate(zip(*groups, strict=True), start=1):
        members, came = np.concatenate(parts)[: evaluation.num_members], series.frames[start + lead]
        energy.append(energy_score_fair(members / stds, came / stds, grid.area_weights))
        past = climatology_indices(series.valid_times, series.valid_times[start + lead], years, CLIMATOLOGY_MEMBERS)
        ensemble, truth, climate = (with_wind_speed(f, variables)[0] for f in (members, came, series.frames[past]))
        for channel, name in enumerate(scores):
            draw = np.random.default_rng([evaluation.seed, start, lead, channel])
            entry = score_field(ensemble[:, channel], truth[channel], grid, draw)
            persistence = np.abs(start_fields[channel] - truth[channel])
            entry["persistence_mae"] = float(area_mean(persistence, grid.area_weights))
            climatology = crps_fair(climate[:, channel], truth[channel])
            entry["climatology_crps"] = float(area_mean(climatology, grid.area_weights))
            scores[name].append(entry)
        if WIND_SPEED in scores:
            for speed, entries in zip(EVENT_SPEEDS, events.values(), strict=True):
                entries.append(score_event(ensemble[:, -1], truth[-1], speed, grid))
    return {
        "start": str(series.valid_times[start]),
        "scores": scores,
        "energy_score": energy,
        "events": {name: entries for name, entries in events.items() if entries},
        "warm_start": _warm_start(forecaster, series, start),
    }


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


def _summary(records: Sequence[dict[str, Any]], manifest: Manifest, evaluation: Evaluation) -> dict[str, Any]:
    """Return scores by variable and lead time over all starts, with references and intervals of the CRPS."""
    draw = np.random.default_rng(evaluation.seed)
    result: dict[str, Any] = {}
    for name in records[0]["scores"]:
        rows = []
        for lead in range(evaluation.num_lead_times):
            entries = [record["scores"][name][lead] for record in records]
            references = {key: [entry.pop(key) for entry in entries] for key in ("persistence_mae", "climatology_crps")}
            row: dict[str, Any] = {"lead_hours": (lead + 1) * manifest.model.time_step_hours}
            row |= summarise(entries, evaluation.num_members)
            row["crps_fair_interval"] = bootstrap_interval([entry["crps_fair"] for entry in entries], draw)
            row |= {key: float(np.mean(values)) for key, values in references.items()}
            rows.append(row)
        result[name] = rows
    energy = np.mean([record["energy_score"] for record in records], axis=0)
    fits = [record["warm_start"] for record in records]
    warm_start = {name: _means([fit[name] for fit in fits]) for name in fits[0]}
    events = {
        name: [
            _means([record["events"][name][lead] for record in records]) for lead in range(evaluation.num_lead_times)
        ]
        for name in records[0]["events"]
    }
    return {"scores": result, "energy_score": energy.tolist(), "events": events, "warm_start": warm_start}


def _means(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of each number or list over entries with the same keys."""
    return {key: np.mean([entry[key] for entry in entries], axis=0).tolist() for key in entries[0]}
