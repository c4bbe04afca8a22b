"""Read the states of the catalogue's data sets that are fetched when they are needed."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from anyio import to_thread

from jobs.request import CatalogueSource
from service.dependencies import Service
from service.shared_calls import SharedCalls
from service.threads import FETCHERS
from weather.bundled import find_catalogue_state
from weather.errors import UpstreamError
from weather.ingest.parent import ingest_initial_state
from weather.initial_state import InitialState
from weather.manifest import Manifest
from weather.upstream.dataset import Dataset

_ATTEMPTS = 2
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
    times = [init_time - index * spec.time_step for index in reversed(range(spec.context_frames))]

    async def fetch_and_parse() -> InitialState:
        folder, names = await to_thread.run_sync(_fetch, dataset, times, limiter=FETCHERS)
        try:
            parse = partial(ingest_initial_state, [folder / name for name in names], names, spec, init_time)
            async with service.queues.parsing.place(owner) as place:
                return await place.run(parse, parsing_seconds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    state = await _STATES.get((dataset.name, str(init_time), spec.model_dump_json()), fetch_and_parse)
    return _with_origin(state, dataset)


def _find_time(source: CatalogueSource, service: Service) -> np.datetime64:
    if source.init_time is not None:
        return service.datasets.check_time(source.dataset, source.init_time)
    newest = service.datasets.find_newest(source.dataset)
    if newest is None:
        message = f"Data set {source.dataset} has no two whole analyses 6 h apart yet. Try again later."
        raise UpstreamError(source.dataset, message)
    return newest


def _fetch(dataset: Dataset, times: Sequence[np.datetime64]) -> tuple[Path, list[str]]:
    """Return a temporary folder with links to the files of these times, and their names.

    With links of its own, a state is read whole even if the cache makes space meanwhile.
    """
    folder = Path(tempfile.mkdtemp(prefix="warmcast-analyses-"))
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            files = dataset.fetch(times)
            for path in files:
                _link_or_copy(path, folder / path.name)
        except FileNotFoundError as error:
            if attempt == _ATTEMPTS:
                shutil.rmtree(folder, ignore_errors=True)
                message = f"The files of data set {dataset.name} disappear while they are read. Try again later."
                raise UpstreamError(dataset.name, message) from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        else:
            return folder, [path.name for path in files]
    raise AssertionError


def _link_or_copy(path: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # on another disk
        shutil.copyfile(path, target)


def _with_origin(state: InitialState, dataset: Dataset) -> InitialState:
    """Return a state whose sources name the data set, its attribution and its licence."""
    description = dataset.description
    terms = [text for text in (description.attribution, description.licence) if text]
    note = f"data set {dataset.name}" + (f" ({'; '.join(terms)})" if terms else "")
    choice = tuple(each.model_copy(update={"notes": (*each.notes, note)}) for each in state.choice)
    return replace(state, choice=choice)
