"""Read the states of the catalogue's data sets that are fetched when they are needed."""

import shutil
from functools import partial

import numpy as np
from anyio import to_thread

from jobs.request import CatalogueSource
from service.dependencies import Service
from service.shared_calls import SharedCalls
from service.threads import FETCHERS
from weather.bundled import find_catalogue_state
from weather.ingest.parent import ingest_initial_state
from weather.initial_state import InitialState
from weather.manifest import Manifest
from weather.upstream.states import check_newest, fetch_links, frame_times, with_origin

_STATES = SharedCalls[InitialState](8, lambda _: 1)
"""The states of fetched data sets that were used last; they are the same for all callers."""


def check_catalogue_source(dataset: str, init_time: str | None, service: Service) -> None:
    """Raise `ConfigurationError` if there is no such data set, or it never has an analysis at this time."""
    if not service.datasets.is_fetched(dataset):
        find_catalogue_state(dataset, init_time)
    elif init_time is not None:
        service.datasets.check_time(dataset, init_time)


async def read_fetched_state(
    source: CatalogueSource, manifest: Manifest, service: Service, owner: str, parsing_seconds: float
) -> InitialState:
    """Return the state of a data set at a time, by default the newest, which is fetched and parsed once for all.

    Raises `UpstreamError` if the data set is not reached or has no whole analyses for it.
    """
    dataset, spec = service.datasets.find(source.dataset), manifest.model
    init_time = await to_thread.run_sync(_find_time, source, service, limiter=FETCHERS)
    times = frame_times(init_time, spec)

    async def fetch_and_parse() -> InitialState:
        folder, names = await to_thread.run_sync(fetch_links, dataset, times, limiter=FETCHERS)
        try:
            parse = partial(ingest_initial_state, [folder / name for name in names], names, spec, init_time)
            async with service.queues.parsing.place(owner) as place:
                return await place.run(parse, parsing_seconds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    state = await _STATES.get((dataset.name, str(init_time), spec.model_dump_json()), fetch_and_parse)
    return with_origin(state, dataset)


def _find_time(source: CatalogueSource, service: Service) -> np.datetime64:
    if source.init_time is not None:
        return service.datasets.check_time(source.dataset, source.init_time)
    return check_newest(source.dataset, service.datasets.find_newest(source.dataset))
