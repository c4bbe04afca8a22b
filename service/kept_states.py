"""Make the initial states that callers keep: from files, the catalogue or a forecast; and view them."""

from typing import Any, Literal

from anyio import to_thread
from pydantic import BaseModel, Field

from jobs.forecasts import ForecastRecord
from jobs.kept_states import KeptState, find_state_by_key
from jobs.planning.measured import load_estimator
from jobs.request import CatalogueSource
from jobs.state_folders import describe_state, keep_state
from service.catalogue import check_catalogue_source
from service.checkpoints import read_named_manifest
from service.damage import answering_damage, load_state_of
from service.dependencies import Service
from service.faults import Faults, located_at
from service.initial_states import find_source_forecast, parse_files, read_catalogue_state
from service.lead_times import read_lead_time
from service.limits import admission_of
from service.state_bodies import CatalogueState, ForecastState, UploadedState
from service.state_requests import StateRequest
from service.state_sources import with_warnings
from service.threads import READERS, WRITERS, in_threads
from service.views import Link, format_time
from storage.errors import ConfigurationError
from weather.errors import StorageFullError
from weather.exports.state import KEPT_STATE
from weather.initial_state import InitialState
from weather.manifest import Manifest
from weather.readers.provenance import ChosenSource
from weather.times import parse_time


class StateView(BaseModel):
    """An initial state that the caller keeps."""

    id: str
    type: Literal["state"] = "state"
    digest: str = Field(description="SHA-256 of the frames and their time.")
    init_time: str = Field(description="Initial time, UTC.")
    model: str = Field(
        description="Checkpoint that it was made for; every one of the same grid and variables can use it."
    )
    grid: dict[str, int]
    variables: list[str]
    time_step_hours: int
    frames: int = Field(description="Number of frames, one time step apart; the newest is at the initial time.")
    analyses: int = Field(description="1, or the size of an ensemble of analyses.")
    sources: list[str] = Field(description="Names of the files, or where else the state is from.")
    choice: list[ChosenSource] = Field(description="What was chosen from the files, as `POST /inspect` describes it.")
    warnings: list[str] = Field(description="What is unusual about the state, as sentences.")
    bytes: int
    created: str
    expires: str | None = Field(description="Time (UTC) after which it is deleted; null: never.")
    links: list[Link]


class StateList(BaseModel):
    """A page of kept initial states, newest first."""

    states: list[StateView]
    links: list[Link]


def view_state(record: KeptState, base: str, keep_hours: float | None) -> StateView:
    """Return the JSON view of a kept state; `keep_hours` is the time for which states are kept."""
    description, home = record.description, f"{base}/v1/states/{record.id}"
    fields: dict[str, Any] = description.model_dump(exclude={"grid_digest", "latitudes", "longitudes"})
    return StateView(
        **fields,
        id=record.id,
        grid={"latitudes": description.latitudes, "longitudes": description.longitudes},
        bytes=record.size_bytes,
        created=format_time(record.created),
        expires=None if keep_hours is None else format_time(record.created + keep_hours * 3600),
        links=[
            Link(rel="self", href=home, type="application/json"),
            Link(rel="data", href=f"{home}/{KEPT_STATE}", type="application/vnd.zarr"),
        ],
    )


def check_state_request(request: StateRequest, service: Service, owner: str) -> tuple[Manifest, str]:
    """Return the manifest and the name of the checkpoint whose grid a state gets; raise what is wrong with a source."""
    source, faults = request.source, Faults()
    if isinstance(source, ForecastState):
        return _check_forecast(source, service, owner)
    manifest = faults.attempt(("body", "model"), _read_manifest, service, source.model)
    if isinstance(source, CatalogueState):
        faults.attempt(("body",), check_catalogue_source, source.dataset, source.init_time, service)
    elif source.init_time is not None:
        faults.attempt(("body",), parse_time, source.init_time)
    faults.check()
    assert manifest is not None
    return manifest, source.model


def _check_forecast(source: ForecastState, service: Service, owner: str) -> tuple[Manifest, str]:
    with located_at("body"):
        record = find_source_forecast(source.id, service, owner)
        name = record.request.checkpoint
        manifest = _read_manifest(service, name)
        if manifest.digest != record.request.checkpoint_digest:
            raise ConfigurationError(
                f"`id` must be the id of a forecast whose checkpoint has not changed. Got: {source.id!r}, of an "
                f"earlier version of {name}.",
                ("id",),
            )
    return manifest, name


def _read_manifest(service: Service, name: str) -> Manifest:
    return read_named_manifest(name, service.settings.storage.checkpoint_folders)


async def read_state_to_keep(request: StateRequest, manifest: Manifest, service: Service, owner: str) -> InitialState:
    """Return the state that a request describes, on the checkpoint's grid.

    Raises the errors of `read_initial_state`, and those of `read_lead_time`.
    """
    source = request.source
    if isinstance(source, UploadedState):
        assert request.place is not None
        with located_at("body", "initial_state"):
            return await parse_files(request.files, request.names, request.place, manifest, source.init_time)
    with located_at("body"):
        if isinstance(source, ForecastState):
            return await _read_from_forecast(source, manifest, service, owner)
        catalogue = CatalogueSource(source="catalogue", dataset=source.dataset, init_time=source.init_time)
        return await read_catalogue_state(catalogue, manifest, service, owner)


@in_threads(READERS)
def _read_from_forecast(source: ForecastState, manifest: Manifest, service: Service, owner: str) -> InitialState:
    record = find_source_forecast(source.id, service, owner)
    with answering_damage(record, service):
        state = _load(record, source, service)
    return with_warnings(state, state.sources[0], manifest)


def _load(record: ForecastRecord, source: ForecastState, service: Service) -> InitialState:
    if source.lead_time is None or source.member is None:
        return load_state_of(record, service)
    return read_lead_time(record, service, source.lead_time, source.member)


async def keep(
    service: Service, owner: str, state: InitialState, manifest: Manifest, name: str, key: str | None
) -> tuple[KeptState, bool]:
    """Keep a state on the grid of the checkpoint `name`, and return its record and whether it is new.

    An earlier state under the same idempotency key is returned as it is. Raises `StorageFullError` if the disk has too
    little space, and the errors of `keep_state`.
    """

    def write() -> tuple[KeptState, bool]:
        description = describe_state(state, name, manifest.model)
        with service.database.read() as connection:
            earlier = find_state_by_key(connection, owner, key, description) if key else None
        if earlier is not None:
            return earlier, False
        _check_free_space(service, sum(frame.nbytes for frame in state.frames))
        admission = admission_of(service.settings.limits)
        return keep_state(
            service.database, service.data, owner, state, description, manifest.model.grid, key, admission
        )

    return await to_thread.run_sync(write, limiter=WRITERS)


def _check_free_space(service: Service, size_bytes: int) -> None:
    """Raise `StorageFullError` if the data place has too little space for a state besides what is reserved."""
    with service.database.read() as connection:
        reserved = load_estimator(connection).remaining_bytes + service.settings.storage.reserve_bytes
    free = service.data.free_bytes()
    if size_bytes > free - reserved:
        raise StorageFullError(
            f"The initial state needs {size_bytes / 1e6:.1f} MB, but of {free / 1e6:.1f} MB that are free, "
            f"{reserved / 1e6:.1f} MB are reserved for forecasts that were accepted before and for deletions. Delete "
            "other initial states or forecasts."
        )
