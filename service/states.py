"""Initial states for requests: parsed in limited children, a few at once; those of the catalogue parsed once."""

import threading
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from service.requests import UploadSource
from service.uploads import Asked
from weather.catalogue import find_state
from weather.ingest.ingest import ingest
from weather.initial_state import InitialState
from weather.manifest import Manifest, ModelSpec
from weather.times import parse_time

PARSERS = threading.BoundedSemaphore(2)
"""Each may take gigabytes: the others wait."""
_KEPT_STATES = 8

_catalogue_lock = threading.Lock()


def initial_state_of(asked: Asked, manifest: Manifest) -> InitialState:
    """Return the initial state that a request names or brings, on the checkpoint's grid.

    Raises `InitialStateError` of some kind, or `ConfigurationError` for a state that the catalogue does not have.
    """
    source = asked.body.initial_state
    if isinstance(source, UploadSource):
        init_time = parse_time(source.init_time) if source.init_time else None
        with PARSERS:
            return ingest(asked.files, asked.names, manifest.model, init_time)
    found = find_state(source.dataset, source.init_time)
    with _catalogue_lock:
        state = _catalogued(tuple(found.files), parse_time(found.init_time), manifest.model.model_dump_json())
    return replace(state, sources=tuple(path.name for path in found.files))


@lru_cache(_KEPT_STATES)
def _catalogued(files: tuple[Path, ...], init_time: np.datetime64, spec: str) -> InitialState:
    names = [path.name for path in files]
    return ingest(files, names, ModelSpec.model_validate_json(spec), init_time)
