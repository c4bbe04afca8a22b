"""Read an initial state that a caller keeps, for a forecast of a checkpoint."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from jobs.errors import StateNotFoundError
from jobs.kept_states import KeptState, read_state
from jobs.state_folders import load_kept_state
from service.dependencies import Service
from service.problems import DAMAGED, ServiceError
from service.threads import READERS, in_threads
from storage.errors import ConfigurationError
from weather.admission import check_state
from weather.errors import DamagedError, InitialStateError
from weather.initial_state import InitialState
from weather.manifest import Manifest

_log = logging.getLogger(__name__)


def find_kept_state(state_id: str, service: Service, owner: str) -> KeptState:
    """Return the state that a source names; raise `ConfigurationError` if `owner` has none."""
    try:
        with service.database.read() as connection:
            return read_state(connection, state_id, owner)
    except StateNotFoundError as error:
        message = f"`id` must be the id of one of your initial states. Got: {state_id!r}."
        raise ConfigurationError(message, ("id",)) from error


@in_threads(READERS)
def read_kept_state(state_id: str, manifest: Manifest, service: Service, owner: str) -> InitialState:
    """Return a kept state for a forecast of a checkpoint, with the warnings that its training years give.

    Raises `ConfigurationError` if `owner` has no such state, `InitialStateError` if it does not fit the checkpoint, and
    `ServiceError` if its files are damaged.
    """
    record = find_kept_state(state_id, service, owner)
    misfits = record.description.find_misfits(manifest.model)
    if misfits:
        raise InitialStateError(f"`{state_id}`", misfits)
    state = load_frames(record, service)
    return with_warnings(replace(state, frames=state.frames[: manifest.model.context_frames]), state_id, manifest)


def load_frames(record: KeptState, service: Service) -> InitialState:
    """Return a kept state; raises the errors of `answering_state_damage`."""
    with answering_state_damage(record, service):
        return load_kept_state(service.data, record)


@contextmanager
def answering_state_damage(record: KeptState, service: Service) -> Iterator[None]:
    """Turn `DamagedError` into a problem without paths, or `StateNotFoundError` if the state was deleted meanwhile."""
    try:
        yield
    except DamagedError as error:
        with service.database.read() as connection:
            read_state(connection, record.id, record.owner)
        _log.error("The initial state %s is damaged: %s", record.id, error)
        raise ServiceError(
            DAMAGED, f"The files of initial state {record.id} are damaged. Delete it, and make it again."
        ) from error


def with_warnings(state: InitialState, name: str, manifest: Manifest) -> InitialState:
    """Return a state with what is unusual about it for a checkpoint; raise `InitialStateError` if it is no weather."""
    findings = check_state(state.frames, state.init_time, manifest.model, np.datetime64("now", "s"))
    if findings.problems:
        raise InitialStateError(f"`{name}`", findings.problems)
    return replace(state, warnings=tuple(dict.fromkeys((*state.warnings, *findings.warnings))))
