"""Read the initial state of a request: files, a state of the catalogue, a kept one, or that of an earlier forecast."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from jobs.errors import ForecastNotFoundError
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.request import CatalogueSource, ForecastSource, InitialStateSource, StateSource, UploadSource
from jobs.rows.states import Data
from service.catalogue import check_catalogue_source, read_fetched_state
from service.damage import answering_damage, load_state_of
from service.dependencies import Service
from service.faults import located_at
from service.problems import ServiceError
from service.shared_calls import SharedCalls
from service.state_sources import find_kept_state, read_kept_state
from service.threads import READERS, in_threads
from service.uploads import ParsedRequest
from service.work_queues import Place
from storage.errors import ConfigurationError
from weather.bundled import find_catalogue_state
from weather.ingest.parent import ingest_initial_state
from weather.initial_state import InitialState
from weather.manifest import Manifest
from weather.times import parse_time

PARSING_SECONDS = 660.0
"""Seconds after which a parser is killed that its own limits have not stopped."""
_CATALOGUE_STATES = SharedCalls[InitialState](8, lambda _: 1)
"""The states of the catalogue that were used last."""


async def read_initial_state(request: ParsedRequest, manifest: Manifest, service: Service, owner: str) -> InitialState:
    """Return the initial state of a request, on the checkpoint's grid: of its files or a source.

    Raises a subclass of `InitialStateError`, or `ConfigurationError` if there is no such state.
    """
    source = request.body.initial_state
    with located_at("body", "initial_state"):
        if isinstance(source, UploadSource):
            assert request.place is not None
            return await parse_files(request.files, request.names, request.place, manifest, source.init_time)
        return await read_stored_state(source, manifest, service, owner)


async def read_stored_state(
    source: CatalogueSource | ForecastSource | StateSource, manifest: Manifest, service: Service, owner: str
) -> InitialState:
    """Return the initial state of a source without uploaded files; raise the errors of `read_initial_state`."""
    if isinstance(source, ForecastSource):
        return await _read_source_forecast(source, manifest, service, owner)
    if isinstance(source, StateSource):
        return await read_kept_state(source.id, manifest, service, owner)
    return await read_catalogue_state(source, manifest, service, owner)


async def parse_files(
    files: Sequence[Path], names: Sequence[str], place: Place, manifest: Manifest, init_time: str | None
) -> InitialState:
    """Return the state in uploaded files, on the checkpoint's grid, which a child process parses in its turn."""
    time = parse_time(init_time) if init_time else None
    parse = partial(ingest_initial_state, files, names, manifest.model, time)
    return await place.run(parse, PARSING_SECONDS, files[0].parent)


def check_source(source: InitialStateSource, service: Service, owner: str) -> None:
    """Raise `ConfigurationError` if the source names a state that does not exist, or its time cannot be parsed."""
    if isinstance(source, CatalogueSource):
        check_catalogue_source(source.dataset, source.init_time, service)
    elif isinstance(source, ForecastSource):
        find_source_forecast(source.id, service, owner)
    elif isinstance(source, StateSource):
        find_kept_state(source.id, service, owner)
    elif source.init_time is not None:
        parse_time(source.init_time)


def find_source_forecast(forecast_id: str, service: Service, owner: str) -> ForecastRecord:
    """Return the forecast that a source names; raise `ConfigurationError` if `owner` has none, or its data is gone."""
    try:
        with service.database.read() as connection:
            record = read_forecast(connection, forecast_id, owner)
    except ForecastNotFoundError as error:
        message = f"`id` must be the id of one of your forecasts. Got: {forecast_id!r}."
        raise ConfigurationError(message, ("id",)) from error
    if record.data != Data.AVAILABLE:
        raise ConfigurationError(
            f"`id` must be the id of a forecast whose data is available. Got: {forecast_id!r}, whose data is "
            f"{record.data}.",
            ("id",),
        )
    return record


@in_threads(READERS)
def _read_source_forecast(source: ForecastSource, manifest: Manifest, service: Service, owner: str) -> InitialState:
    record = find_source_forecast(source.id, service, owner)
    if record.request.checkpoint_digest != manifest.digest:
        raise ConfigurationError(
            f"`id` must be the id of a forecast of the same checkpoint, {manifest.name} in its present version. "
            f"Got: {source.id!r}, of {record.request.checkpoint}.",
            ("id",),
        )
    try:
        with answering_damage(record, service):
            return load_state_of(record, service)
    except ServiceError:
        find_source_forecast(source.id, service, owner)
        raise


async def read_catalogue_state(
    source: CatalogueSource, manifest: Manifest, service: Service, owner: str
) -> InitialState:
    """Return a state of the catalogue, which is parsed once for all requests of one checkpoint's grid."""
    if service.datasets.is_fetched(source.dataset):
        return await read_fetched_state(source, manifest, service, owner, PARSING_SECONDS)
    entry = find_catalogue_state(source.dataset, source.init_time)
    files, names = tuple(entry.files), tuple(path.name for path in entry.files)
    parse = partial(ingest_initial_state, files, names, manifest.model, parse_time(entry.init_time))

    async def parse_in_turn() -> InitialState:
        async with service.queues.parsing.place(owner) as place:
            return await place.run(parse, PARSING_SECONDS)

    state = await _CATALOGUE_STATES.get((files, manifest.model.model_dump_json()), parse_in_turn)
    return replace(state, sources=names)
