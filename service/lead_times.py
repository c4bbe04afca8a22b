"""Fields of a lead time of a forecast, as an initial state."""

import numpy as np
from numpy.typing import NDArray

from jobs.forecasts import ForecastRecord
from jobs.rows.states import OPEN
from service.damage import load_state_of
from service.dependencies import Service, find_data_folder
from service.problems import NOT_FINISHED, UNSUCCESSFUL, ServiceError
from storage.errors import ConfigurationError
from weather.initial_state import InitialState
from weather.stores.ensemble import EnsembleStore
from weather.times import count_lead_times, format_time


def read_lead_time(record: ForecastRecord, service: Service, lead_time: str, member: int) -> InitialState:
    """Return the state of one member at a lead time: the frame there, and those before, one time step apart.

    Frames at and before the start of the forecast are those of its initial state. Raises `ConfigurationError` for a
    lead time or member that the forecast does not have, `ServiceError` (409) for a lead time that is not complete, and
    `DamagedError`.
    """
    store = _open_members(record, service)
    index = _index_of(store, record, lead_time)
    group, position = _place_of(store, record, member)
    _check_complete(store, record, index, group)
    initial = load_state_of(record, service)
    frames = list[NDArray[np.float32]]()
    for earlier in range(len(initial.frames)):
        if index >= earlier:
            frames.append(store.group_fields(group, index - earlier)[position : position + 1])
        else:
            start = initial.frames[earlier - index - 1]
            analysis = member % len(start)
            frames.append(start[analysis : analysis + 1])
    valid_time = store.layout.init_time + (index + 1) * store.layout.time_step
    if not all(np.isfinite(frame).all() for frame in frames):
        raise ConfigurationError(
            f"`member` must be a member that is finite at the lead time. Got: {member}, which is lost at "
            f"{format_time(valid_time)}.",
            ("member",),
        )
    name = f"{record.id}/member-{member}/{(index + 1) * store.layout.time_step.astype('m8[h]').astype(int)}h"
    return InitialState(valid_time.astype("datetime64[s]"), tuple(frames), (name,), warnings=_cautions(record))


def _cautions(record: ForecastRecord) -> tuple[str, ...]:
    bits = record.request.output.keep_bits
    rounded = f"The fields of forecast {record.id} are rounded to {bits} bits of the mantissa, and so is this state."
    return record.request.warnings + (() if bits is None else (rounded,))


def _open_members(record: ForecastRecord, service: Service) -> EnsembleStore:
    """Open the ensemble of a forecast; raise `ConfigurationError` if its members are not stored."""
    if not record.request.output.members:
        raise ConfigurationError(
            f"`id` must be the id of a forecast that stores its members. Got: {record.id!r}, which stores only its "
            "summary. Recompute members with POST /forecast/ID/replay.",
            ("id",),
        )
    return EnsembleStore.open(find_data_folder(record, service).store)


def _index_of(store: EnsembleStore, record: ForecastRecord, lead_time: str) -> int:
    """Return the index of a lead time; raise `ConfigurationError` if the forecast does not have it."""
    number = count_lead_times(lead_time, store.layout.time_step)
    if number > record.num_lead_times:
        raise ConfigurationError(
            f"`lead_time` must be at most {record.request.lead_hours}h, the last lead time of forecast {record.id}. "
            f"Got: {lead_time!r}.",
            ("lead_time",),
        )
    return number - 1


def _place_of(store: EnsembleStore, record: ForecastRecord, member: int) -> tuple[int, int]:
    """Return the group of a member and its position in it; raise `ConfigurationError` if there is no such member."""
    if member not in store.layout.members:
        accepted = ", ".join(map(str, record.request.member_numbers or ())) or f"0 to {record.request.members - 1}"
        raise ConfigurationError(
            f"`member` must be the number of a member of forecast {record.id}, {accepted}. Got: {member}.", ("member",)
        )
    group, position = divmod(store.layout.members.index(member), store.layout.group_size)
    return group, position


def _check_complete(store: EnsembleStore, record: ForecastRecord, index: int, group: int) -> None:
    """Raise `ServiceError` (409) unless a lead time is complete, and published for the group."""
    is_published = store.is_complete(store.path, group, index)
    if index < record.lead_times and (is_published or record.status not in OPEN):
        return
    kind = NOT_FINISHED if record.status in OPEN else UNSUCCESSFUL
    raise ServiceError(
        kind,
        f"Forecast {record.id} is {record.status} and has {record.lead_times} complete lead times of "
        f"{record.num_lead_times}. Got: lead time number {index + 1}.",
        ("lead_time",),
    )
