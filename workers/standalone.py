"""A forecast in one process, without the database: from an initial state to a complete ensemble store."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from storage.lock import lock_folder
from weather.errors import StoreError
from weather.ingest.exchange import INITIAL_STATE, save_initial_state
from weather.initial_state import InitialState
from weather.manifest import Manifest, Sampling
from weather.stores.create import descriptive_attributes, identity_attributes
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import ENSEMBLE, SUMMARY, Layout
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout
from weather.stores.summary_request import Summary
from workers.background import BackgroundWriter
from workers.chunk_writers import ChunkWriters, StagedLeadTime, lead_times_ahead
from workers.device import count_host_threads, keep_freed_memory
from workers.lead_times import LeadTimes, summarise_lead_time
from workers.rollouts import Rollouts


@dataclass(frozen=True)
class StandaloneForecast:
    """Inputs and options of a forecast that this process computes alone."""

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
class RunReceipt:
    """The result of a run: computed lead times (counted per group), lost members, wall time.

    `network_evaluations` are those of both networks, each for one member, without those that only pad a group.
    Values are equal bit for bit only if device, number of CPU threads and version of PyTorch are the same.
    """

    store: Path
    lead_times_computed: int
    lead_times_resumed: int
    network_evaluations: int
    nonfinite_members: tuple[int, ...]
    device: str
    threads: int
    torch: str
    wall_seconds: float


Report = Callable[[int], None]
"""Called with the index of each lead time that all groups have committed."""


def run_forecast(forecast: StandaloneForecast, output: Path, *, resume: bool, report: Report) -> RunReceipt:
    """Compute the lead times that `output/ensemble.zarr` lacks, each written in full before the next; return a receipt.

    Also writes `output/initial_state`, and `output/summary.zarr` if `with_summary` is set. All member groups advance
    together, so that the first lead times of the whole ensemble are available early. Raises `StoreError` if the
    store exists and `resume` is false, if it holds another forecast, or if another process writes it.
    """
    started = time.monotonic()
    keep_freed_memory()
    networks, manifest = load_checkpoint(forecast.checkpoint, forecast.device)
    forecaster = Forecaster(networks, forecast.sampling, forecast.device)
    locked = StoreError(f"`{output}` is being written by another process. Wait for it, or stop it.")
    with lock_folder(output, locked):
        store = _open_store(output / ENSEMBLE, forecast, manifest, resume=resume)
        done = [store.num_complete_of_group(group) for group in range(store.layout.num_groups)]
        summary = _open_summary(output / SUMMARY, store) if forecast.with_summary else None
        save_initial_state(forecast.state, output / INITIAL_STATE)
        noise = ForecastNoise.of(manifest.model, manifest.noise, seed=forecast.seed, init_time=forecast.state.init_time)
        _fill(forecaster, forecast, noise, store, summary, done, report)
    layout = store.layout
    computed = layout.num_lead_times * len(done) - sum(done)
    member_steps = sum(
        len(layout.group_members(group)) * (layout.num_lead_times - number) for group, number in enumerate(done)
    )
    return RunReceipt(
        store=output / ENSEMBLE,
        lead_times_computed=computed,
        lead_times_resumed=sum(done),
        network_evaluations=member_steps * forecast.sampling.network_evaluations,
        nonfinite_members=tuple(store.lost_members()),
        device=str(forecast.device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        wall_seconds=round(time.monotonic() - started, 3),
    )


def _fill(
    forecaster: Forecaster,
    forecast: StandaloneForecast,
    noise: ForecastNoise,
    store: EnsembleStore,
    summary: SummaryStore | None,
    done: Sequence[int],
    report: Report,
) -> None:
    """Compute and commit the lead times of each group after the first `done` ones; report those that all groups have.

    With `summary`, also writes the statistics of each lead time that lacks them.
    """
    threads = count_host_threads(forecast.device)
    rollouts = Rollouts(forecaster, forecast.state, store, dict(enumerate(done)), noise, threads)
    lead_times = LeadTimes(store)

    def summarise(lead_index: int) -> None:
        if summary is not None:
            summarise_lead_time(summary, lead_times, lead_index)
        lead_times.discard(lead_index)

    def finish(lead_indices: Sequence[int]) -> None:
        for lead_index in lead_indices:
            summarise(lead_index)
            report(lead_index)

    with BackgroundWriter(finish) as finished:

        def commit(pieces: Sequence[StagedLeadTime]) -> None:
            for staged in pieces:
                group, lead_index = staged.states.group, staged.states.lead_index
                lead_times.keep(group, lead_index, staged.complete())
                staged.sync()
                if group == rollouts.groups[-1]:
                    finished.put(lead_index)

        for lead_index in range(min(done)):
            summarise(lead_index)
        depth = lead_times_ahead(store.layout.group_bytes, forecast.device)
        with ChunkWriters(threads) as chunks, BackgroundWriter(commit, depth) as writer:
            for lead_index in range(store.layout.num_lead_times):
                for computed in rollouts.advance(lead_index):
                    writer.put(chunks.begin(computed, store))


def _open_store(path: Path, forecast: StandaloneForecast, manifest: Manifest, *, resume: bool) -> EnsembleStore:
    layout = Layout(
        init_time=forecast.state.init_time,
        num_lead_times=forecast.num_lead_times,
        time_step=manifest.model.time_step,
        members=forecast.members,
        group_size=forecast.group_size,
        variables=manifest.model.variable_names,
        grid=manifest.model.grid.grid,
    )
    identity = identity_attributes(manifest, forecast.sampling, forecast.seed, forecast.state.digest)
    state = forecast.state
    attributes = descriptive_attributes(manifest, state.init_time, state.sources, state.choice) | identity
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
    store.path.remove_partial_files()
    return store


def _open_summary(path: Path, store: EnsembleStore) -> SummaryStore:
    layout = SummaryLayout(store.layout, Summary())
    if not path.exists():
        return SummaryStore.create(path, layout, store.attributes)
    summary = SummaryStore(path, layout)
    summary.path.remove_partial_files()
    return summary
