"""A whole forecast in one process: from an initial state to a complete ensemble store."""

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from models.noise import RNG_NAME
from models.rollout import rollout
from weather.errors import StoreError
from weather.initial_state import InitialState
from weather.manifest import Manifest, Sampling
from weather.store import EnsembleStore
from weather.store_template import Layout
from workers.lock import only_writer

STORE_NAME = "ensemble.zarr"


@dataclass(frozen=True)
class Forecast:
    """What is to be forecast, and how."""

    state: InitialState
    checkpoint: Path
    members: tuple[int, ...]
    num_lead_times: int
    group_size: int
    seed: int
    sampling: Sampling
    device: torch.device


@dataclass(frozen=True)
class Receipt:
    """What a run has done: lead times counted a group, network evaluations of both networks, member-steps."""

    store: Path
    lead_times_computed: int
    lead_times_resumed: int
    flow_evaluations: int
    warm_start_evaluations: int
    nonfinite_members: tuple[int, ...]
    wall_seconds: float


Report = Callable[[int], None]
"""Told the lead time index of each lead time that is complete in all groups."""


def run_forecast(forecast: Forecast, output: Path, *, resume: bool, report: Report) -> Receipt:
    """Compute what is missing of a forecast in `output/ensemble.zarr`; every lead time is on disk before the next.

    Lead times are walked outside and member groups inside, so that whole ensembles come early. Raises `StoreError`
    where the store exists and `resume` is false, or where it is of another forecast.
    """
    started = time.monotonic()
    networks, manifest = load_checkpoint(forecast.checkpoint, forecast.device)
    forecaster = Forecaster(networks, forecast.sampling, forecast.device)
    with only_writer(output):
        store = _open_store(output / STORE_NAME, forecast, manifest, resume=resume)
        done = [store.committed(group) for group in range(store.layout.num_groups)]
        nonfinite = _fill(forecaster, forecast, store, done, report)
    computed = store.layout.num_lead_times * len(done) - sum(done)
    return Receipt(
        store.path, computed, sum(done), computed * forecast.sampling.nfe, computed, tuple(sorted(nonfinite)),
        round(time.monotonic() - started, 3),
    )  # fmt: skip


def _fill(
    forecaster: Forecaster, forecast: Forecast, store: EnsembleStore, done: Sequence[int], report: Report
) -> set[int]:
    """Compute and commit what each group lacks beyond its lead times `done`; returns the members that went wrong."""
    walks = [_walk(forecaster, forecast, store, group, first) for group, first in enumerate(done)]
    nonfinite: set[int] = set()
    for lead_index in range(store.layout.num_lead_times):
        for group, walk in enumerate(walks):
            if lead_index >= done[group]:
                fields = next(walk)
                store.commit(group, lead_index, fields)
                nonfinite.update(_nonfinite(store.layout.group_members(group), fields))
        report(lead_index)
    return nonfinite


def _walk(
    forecaster: Forecaster, forecast: Forecast, store: EnsembleStore, group: int, first: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the lead times of a group from index `first` on, (member, variable, latitude, longitude)."""
    members = store.layout.group_members(group)
    padded = members + (members[-1],) * (store.layout.group_size - len(members))
    frames = [_frame(forecast.state, store, group, index, padded) for index in (first - 2, first - 1)]
    previous, newest = (_to_device(frame, len(padded), forecast.device) for frame in frames)
    states = rollout(
        forecaster, previous, newest,
        members=padded, seed=forecast.seed, init_time=forecast.state.init_time, first_step=first,
    )  # fmt: skip
    for state in states:
        yield state[: len(members)].cpu().numpy()


def _frame(
    state: InitialState, store: EnsembleStore, group: int, lead_index: int, members: Sequence[int]
) -> NDArray[np.float32]:
    """Return the states at a lead time index; −1 and −2 are the frames of the initial state, dealt out to members."""
    if lead_index >= 0:
        return store.fields(group, lead_index)
    analyses = state.newest if lead_index == -1 else state.previous
    return analyses[[member % len(analyses) for member in members]]


def _to_device(frame: NDArray[np.float32], size: int, device: torch.device) -> Tensor:
    """Return a frame as a tensor of `size` members, the last one repeated where it has fewer."""
    rows = np.minimum(np.arange(size), len(frame) - 1)
    return torch.from_numpy(frame[rows]).to(device)


def _nonfinite(members: Sequence[int], fields: NDArray[np.float32]) -> list[int]:
    return [member for member, field in zip(members, fields, strict=True) if not np.isfinite(field).all()]


def _open_store(path: Path, forecast: Forecast, manifest: Manifest, *, resume: bool) -> EnsembleStore:
    layout = Layout(
        init_time=forecast.state.init_time,
        num_lead_times=forecast.num_lead_times,
        time_step=manifest.model.time_step,
        members=forecast.members,
        group_size=forecast.group_size,
        variables=manifest.model.variable_names,
        grid=manifest.model.grid.grid,
    )
    identity = _identity(forecast, manifest)
    attributes = _description(forecast, manifest) | identity
    if not resume or not path.exists():
        return EnsembleStore.create(path, layout, attributes)
    store = EnsembleStore.open(path)
    different = [field for field, value in identity.items() if store.attributes.get(field) != value]
    different += [
        field
        for field in ("members", "num_lead_times", "group_size")
        if getattr(store.layout, field) != getattr(layout, field)
    ]
    if different:
        raise StoreError(
            f"`{path}` holds another forecast: it differs in {', '.join(different)}. Resume with the options that "
            "started it, or choose another folder."
        )
    store.sweep()
    return store


def _identity(forecast: Forecast, manifest: Manifest) -> dict[str, Any]:
    """Return what a forecast's values follow from, beside its layout: flat, as NetCDF can hold it."""
    recorded = {
        "checkpoint": manifest.name,
        "checkpoint_digest": manifest.digest,
        "initial_state_digest": forecast.state.digest,
        "seed": forecast.seed,
        "rng": RNG_NAME,
        **forecast.sampling.model_dump(mode="json"),
    }
    return {f"warmcast_{field}": value for field, value in recorded.items()}


def _description(forecast: Forecast, manifest: Manifest) -> dict[str, Any]:
    """Return what CF and people expect of a store's attributes."""
    version = importlib.metadata.version("warmcast")
    init_time = np.datetime_as_string(forecast.state.init_time, "s")
    return {
        "Conventions": "CF-1.11",
        "title": f"Warmcast ensemble forecast from {init_time} UTC",
        "institution": "Warmcast",
        "source": f"Warmcast {version}, checkpoint {manifest.name}, trained on {manifest.provenance.data}",
        "history": f"{np.datetime_as_string(np.datetime64('now'), 's')}Z created by warmcast forecast",
        "references": "Scholz & Turner, Warm Starts Accelerate Conditional Diffusion, arXiv:2507.09212",
        "comment": manifest.provenance.attribution,
        "initial_state": " ".join(Path(source).name for source in forecast.state.sources),
        "warmcast_scales": [variable.std for variable in manifest.model.variables],
        "warmcast_build": f"warmcast {version}, torch {torch.__version__}, {forecast.device.type}",
    }
