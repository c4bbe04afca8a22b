"""Read the initial state of a request: uploaded files, or a state of the catalogue."""

import threading
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from service.faults import located_at
from service.requests import CatalogueSource, UploadSource
from service.uploads import ParsedRequest
from weather.bundled import find_catalogue_state
from weather.ingest.parent import ingest_initial_state
from weather.initial_state import InitialState
from weather.manifest import Manifest, ModelSpec
from weather.times import parse_time

PARSER_SLOTS = threading.BoundedSemaphore(2)
"""Limits how many files are parsed at once, since a parser may use gigabytes of memory."""
_MAX_CACHED_STATES = 8

_catalogue_lock = threading.Lock()


def read_initial_state(request: ParsedRequest, manifest: Manifest) -> InitialState:
    """Return the initial state of a request, from its files or from the catalogue, on the checkpoint's grid.

    Raises a subclass of `InitialStateError`, or `ConfigurationError` if the catalogue has no such state.
    """
    source = request.body.initial_state
    with located_at("body", "initial_state"):
        if isinstance(source, UploadSource):
            init_time = parse_time(source.init_time) if source.init_time else None
            with PARSER_SLOTS:
                return ingest_initial_state(request.files, request.names, manifest.model, init_time)
        return _find_catalogue_state(source, manifest)


def check_source(source: CatalogueSource | UploadSource) -> None:
    """Raise `ConfigurationError` if the source names a state that does not exist, or a time that is none."""
    if isinstance(source, CatalogueSource):
        find_catalogue_state(source.dataset, source.init_time)
    elif source.init_time is not None:
        parse_time(source.init_time)


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
