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
from weather.summary import Summary
from weather.summary_store import SummaryStore
from weather.summary_template import SummaryLayout
from workers.allocator import keep_freed_memory
from workers.background import BackgroundWriter
from workers.lead_times import LeadTimes, summarise_lead_time
from workers.walk import Computed, Walk

STORE_NAME = "ensemble.zarr"
SUMMARY_NAME = "summary.zarr"


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
    with_summary: bool = True


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

    Beside it, where it is asked for, `output/summary.zarr` is written. Lead times are walked outside and member groups
    inside, so that whole ensembles come early. Raises `StoreError` where the store exists and `resume` is false, or
    where it is of another forecast.
    """
    started = time.monotonic()
    keep_freed_memory()
    networks, manifest = load_checkpoint(forecast.checkpoint, forecast.device)
    forecaster = Forecaster(networks, forecast.sampling, forecast.device)
    taken = StoreError(f"`{output}` is being written by another process. Wait for it, or stop it.")
    with only_holder(output, taken):
        store = _open_store(output / STORE_NAME, forecast, manifest, resume=resume)
        done = [store.committed(group) for group in range(store.layout.num_groups)]
        summary = _open_summary(output / SUMMARY_NAME, store) if forecast.with_summary else None
        _fill(forecaster, forecast, store, summary, done, report)
    computed = store.layout.num_lead_times * len(done) - sum(done)
    return Receipt(
        output / STORE_NAME, computed, sum(done), computed * forecast.sampling.nfe, computed, tuple(store.failed()),
        round(time.monotonic() - started, 3),
    )  # fmt: skip


def _fill(
    forecaster: Forecaster,
    forecast: Forecast,
    store: EnsembleStore,
    summary: SummaryStore | None,
    done: Sequence[int],
    report: Report,
) -> None:
    """Compute and commit what each group lacks beyond its lead times `done`."""
    walk = Walk(forecaster, forecast.state, store, dict(enumerate(done)), forecast.seed)
    lead_times = LeadTimes(store)

    def summarise(lead_index: int) -> None:
        if summary is not None:
            summarise_lead_time(summary, lead_times, lead_index)
        lead_times.forget(lead_index)

    def write(computed: Computed) -> None:
        fields = computed.fetch()
        store.commit(computed.group, computed.lead_index, fields)
        lead_times.keep(computed.group, computed.lead_index, fields)
        if computed.group == walk.groups[-1]:
            summarise(computed.lead_index)
            report(computed.lead_index)

    for lead_index in range(min(done)):
        summarise(lead_index)
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


def _open_summary(path: Path, store: EnsembleStore) -> SummaryStore:
    layout = SummaryLayout(store.layout, Summary())
    if not path.exists():
        return SummaryStore.create(path, layout, store.attributes)
    summary = SummaryStore(path, layout)
    summary.sweep()
    return summary
