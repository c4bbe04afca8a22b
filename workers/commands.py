"""`warmcast forecast`: run a forecast from the options of the command line and return its receipt."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diagnostics.scores.moments import spread
from storage.errors import ConfigurationError
from weather.bundled import find_catalogue_state, find_checkpoint
from weather.initial_state import InitialState, read_initial_state
from weather.manifest import Manifest, ModelSpec, read_manifest
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import SUMMARY
from weather.times import count_lead_times, parse_time
from workers.dataset_states import read_dataset_state
from workers.device import find_device
from workers.standalone import RunReceipt, StandaloneForecast, run_forecast

DEFAULT_GROUP_SIZE = 8
SAMPLE = "sample"
_SPREAD_HOURS = (24, 120, 240)
"""Lead times at which the receipt gives the spread."""


def run_from_options(
    *,
    initial_state: Sequence[str],
    dataset: str | None,
    output: Path,
    init_time: str | None,
    num_members: int,
    lead_time: str,
    nfe: int | None,
    solver: str | None,
    warmth: float | None,
    seed: int,
    batch_size: int | None,
    only_members: tuple[int, ...],
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    device: str,
    threads: int | None,
    resume: bool,
    summary: bool,
    report_progress: Callable[[int, int], None],
    report_warning: Callable[[str], None],
) -> dict[str, Any]:
    """Run a forecast into the folder `output` and return its receipt: what was computed, from what, in how long.

    `report_progress` gets (complete lead times, all lead times); `report_warning` each warning of the initial state.
    """
    if threads:
        torch.set_num_threads(threads)
    folder = find_checkpoint(checkpoint, checkpoint_folders)
    manifest = read_manifest(folder)
    num_lead_times = count_lead_times(lead_time, manifest.model.time_step)
    state = _read_state(initial_state, dataset, manifest.model, init_time, report_warning)
    receipt = run_forecast(
        StandaloneForecast(
            state=state,
            checkpoint=folder,
            members=_members(num_members, only_members),
            num_lead_times=num_lead_times,
            group_size=batch_size or min(DEFAULT_GROUP_SIZE, num_members),
            seed=seed,
            sampling=manifest.sampling.replace(solver=solver, nfe=nfe, warmth=warmth),
            device=find_device(device),
            with_summary=summary,
        ),
        output,
        resume=resume,
        report=lambda lead_index: report_progress(lead_index + 1, num_lead_times),
    )
    return _describe(receipt) | _describe_origin(manifest, state, output / SUMMARY if summary else None)


def _describe_origin(manifest: Manifest, state: InitialState, summary: Path | None) -> dict[str, Any]:
    return {
        "summary": None if summary is None else str(summary),
        "checkpoint": manifest.name,
        "noise": manifest.noise.parameters,
        "sources": [source.model_dump(mode="json") for source in state.choice],
        "warnings": list(state.warnings),
    }


def _read_state(
    initial_state: Sequence[str],
    dataset: str | None,
    spec: ModelSpec,
    init_time: str | None,
    report_warning: Callable[[str], None],
) -> InitialState:
    """Return the initial state of a data set, of files, or of the bundled sample if the only name is `sample`.

    Its warnings are reported.
    """
    if bool(initial_state) == (dataset is not None):
        raise ConfigurationError(
            "A forecast starts from `initial_state` (files, addresses or `sample`) or from a `dataset`. "
            f"Got: {'both' if initial_state else 'neither'}."
        )
    if dataset is not None:
        state = read_dataset_state(dataset, init_time, spec)
    else:
        sources = sample_files() if list(initial_state) == [SAMPLE] else list(initial_state)
        state = read_initial_state(sources, spec, parse_time(init_time) if init_time else None)
    for warning in state.warnings:
        report_warning(warning)
    return state


def sample_files() -> list[str]:
    """Return the paths of the newest bundled initial state of GFS."""
    return [str(path) for path in find_catalogue_state("gfs", None).files]


def _members(num_members: int, only: tuple[int, ...]) -> tuple[int, ...]:
    invalid = [member for member in only if member >= num_members]
    if invalid:
        raise ConfigurationError(f"`member` must be less than the number of members, {num_members}. Got: {invalid[0]}.")
    return tuple(sorted(set(only))) or tuple(range(num_members))


def _describe(receipt: RunReceipt) -> dict[str, Any]:
    """Return a receipt as JSON-ready values, together with the size, initial time and spread of its ensemble."""
    store = EnsembleStore.open(receipt.store)
    return asdict(receipt) | {
        "store": str(receipt.store),
        "init_time": np.datetime_as_string(store.layout.init_time, "m"),
        "members": len(store.layout.members),
        "lead_times": store.layout.num_lead_times,
        "spread": _spreads(store),
    }


def _spreads(store: EnsembleStore) -> dict[str, dict[str, float]]:
    """Return the area-mean spread of each variable at 24, 120 and 240 h; nothing for a single member."""
    layout = store.layout
    if len(layout.members) < 2:
        return {}
    result: dict[str, dict[str, float]] = {name: {} for name in layout.variables}
    for lead_index in range(layout.num_lead_times):
        hours = layout.lead_hours(lead_index)
        if hours in _SPREAD_HOURS:
            fields = store.fields(lead_index)
            for channel, name in enumerate(layout.variables):
                value = spread(fields[:, channel], layout.grid.area_weights)
                result[name][f"{hours}h"] = round(float(value), 4)
    return result
