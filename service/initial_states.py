"""Read the initial state of a request: uploaded files, a state of the catalogue, or that of an earlier forecast."""

import threading
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import anyio
import numpy as np

from jobs.errors import ForecastNotFoundError
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.request import CatalogueSource, ForecastSource, InitialStateSource, UploadSource
from jobs.rows.states import Data
from service.dependencies import Service
from service.faults import located_at
from service.uploads import ParsedRequest
from storage.errors import ConfigurationError
from weather.bundled import find_catalogue_state
from weather.errors import StoreError
from weather.ingest.exchange import load_initial_state
from weather.ingest.parent import ingest_initial_state
from weather.initial_state import InitialState
from weather.manifest import Manifest, ModelSpec
from weather.times import parse_time

PARSERS = anyio.CapacityLimiter(2)
"""Limits the threads that parse uploads, since a parser may use gigabytes; further requests wait without a thread."""
_MAX_CACHED_STATES = 8

_catalogue_lock = threading.Lock()


def read_initial_state(request: ParsedRequest, manifest: Manifest, service: Service, owner: str) -> InitialState:
    """Return the initial state of a request, on the checkpoint's grid: of its files, the catalogue or a forecast.

    Raises a subclass of `InitialStateError`, or `ConfigurationError` if there is no such state.
    """
    source = request.body.initial_state
    with located_at("body", "initial_state"):
        if isinstance(source, UploadSource):
            init_time = parse_time(source.init_time) if source.init_time else None
            return ingest_initial_state(request.files, request.names, manifest.model, init_time)
        if isinstance(source, ForecastSource):
            return _read_source_forecast(source, manifest, service, owner)
        return _find_catalogue_state(source, manifest)


def check_source(source: InitialStateSource, service: Service, owner: str) -> None:
    """Raise `ConfigurationError` if the source names a state that does not exist, or its time cannot be parsed."""
    if isinstance(source, CatalogueSource):
        find_catalogue_state(source.dataset, source.init_time)
    elif isinstance(source, ForecastSource):
        _find_source_forecast(source, service, owner)
    elif source.init_time is not None:
        parse_time(source.init_time)


def _find_source_forecast(source: ForecastSource, service: Service, owner: str) -> ForecastRecord:
    """Return the forecast that a source names; raise `ConfigurationError` if `owner` has none, or its data is gone."""
    try:
        with service.database.read() as connection:
            record = read_forecast(connection, source.id, owner)
    except ForecastNotFoundError as error:
        message = f"`id` must be the id of one of your forecasts. Got: {source.id!r}."
        raise ConfigurationError(message, ("id",)) from error
    if record.data != Data.AVAILABLE:
        raise ConfigurationError(
            f"`id` must be the id of a forecast whose data is available. Got: {source.id!r}, whose data is "
            f"{record.data}.",
            ("id",),
        )
    return record


def _read_source_forecast(source: ForecastSource, manifest: Manifest, service: Service, owner: str) -> InitialState:
    record = _find_source_forecast(source, service, owner)
    if record.request.checkpoint_digest != manifest.digest:
        raise ConfigurationError(
            f"`id` must be the id of a forecast of the same checkpoint, {manifest.name} in its present version. "
            f"Got: {source.id!r}, of {record.request.checkpoint}.",
            ("id",),
        )
    try:
        return load_initial_state(ForecastFolder(service.data, record.id).initial_state)
    except StoreError:
        _find_source_forecast(source, service, owner)
        raise


def _find_catalogue_state(source: CatalogueSource, manifest: Manifest) -> InitialState:
    entry = find_catalogue_state(source.dataset, source.init_time)
    with _catalogue_lock:
        state = _read_catalogue_state(tuple(entry.files), parse_time(entry.init_time), manifest.model.model_dump_json())
    return replace(state, sources=tuple(path.name for path in entry.files))


@lru_cache(_MAX_CACHED_STATES)
def _read_catalogue_state(files: tuple[Path, ...], init_time: np.datetime64, spec: str) -> InitialState:
    """Parse a state of the catalogue; `spec` is the `ModelSpec` as JSON, which the cache can hash."""
    names = [path.name for path in files]
    return ingest_initial_state(files, names, ModelSpec.model_validate_json(spec), init_time)
