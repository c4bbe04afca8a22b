"""A whole forecast in one process: from an initial state to a complete ensemble store."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from weather.errors import StoreError
from weather.initial_state import InitialState
from weather.lock import only_holder
from weather.manifest import Manifest, Sampling
from weather.store import EnsembleStore
from weather.store_attributes import store_description, store_identity
from weather.store_template import Layout
from workers.background import BackgroundWriter
from workers.walk import Computed, Walk

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
    taken = StoreError(f"`{output}` is being written by another process. Wait for it, or stop it.")
    with only_holder(output, taken):
        store = _open_store(output / STORE_NAME, forecast, manifest, resume=resume)
        done = [store.committed(group) for group in range(store.layout.num_groups)]
        _fill(forecaster, forecast, store, done, report)
    computed = store.layout.num_lead_times * len(done) - sum(done)
    return Receipt(
        output / STORE_NAME, computed, sum(done), computed * forecast.sampling.nfe, computed, tuple(store.failed()),
        round(time.monotonic() - started, 3),
    )  # fmt: skip


def _fill(
    forecaster: Forecaster, forecast: Forecast, store: EnsembleStore, done: Sequence[int], report: Report
) -> None:
    """Compute and commit what each group lacks beyond its lead times `done`."""
    walk = Walk(forecaster, forecast.state, store, dict(enumerate(done)), forecast.seed)

    def write(computed: Computed) -> None:
        store.commit(computed.group, computed.lead_index, computed.fetch())
        if computed.group == walk.groups[-1]:
            report(computed.lead_index)

    with BackgroundWriter(write) as writer:
        for lead_index in range(store.layout.num_lead_times):
            for computed in walk.lead_time(lead_index):
                writer.put(computed)


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
    identity = store_identity(manifest, forecast.sampling, forecast.seed, forecast.state.digest)
    attributes = store_description(manifest, forecast.state.init_time, forecast.state.sources) | identity
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
