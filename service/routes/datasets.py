"""Routes for the catalogue: the data sets, and the initial states that forecasts can start from."""

from typing import Literal

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from service.dependencies import Service, ServiceDep, authenticate
from service.problems import PROBLEM_RESPONSES
from service.threads import FETCHERS
from service.views import format_time as format_seconds
from weather.bundled import catalogue_states
from weather.times import format_time

WAIT_SECONDS = 2.0
"""Longest wait for data sets that were never looked up."""

router = APIRouter(tags=["models"], responses=PROBLEM_RESPONSES, dependencies=[Depends(authenticate)])


class State(BaseModel):
    """An initial state of the catalogue."""

    dataset: str
    init_time: str


class DatasetView(BaseModel):
    """A data set of the catalogue, and whether it is reached."""

    dataset: str = Field(description="Name, by which the initial state of a forecast names it.")
    title: str
    licence: str
    attribution: str
    step_hours: int = Field(description="Hours between two analyses.")
    delay_hours: float | None = Field(description="Usual hours from an analysis to its publication.")
    state_bytes: int | None = Field(description="Bytes that are fetched for an initial state, about.")
    hosts: list[str] = Field(description="Servers that are contacted; empty for bundled states and folders.")
    init_time: str | None = Field(description="Newest initial time of which both frames are known to be there, UTC.")
    status: Literal["reached", "failing", "unknown"] = Field(description="`unknown` until it is looked up.")
    failure: str | None = Field(description="Why it is not reached.")
    failing_since: str | None = Field(description="Time since when it is not reached, UTC.")
    late_hours: float | None = Field(
        description="Age of the newest analysis above which it is late; null if it never is."
    )
    late: bool = Field(description="Whether the newest analysis is late.")


@router.get("/datasets")
@router.head("/datasets", include_in_schema=False)
async def list_datasets(service: ServiceDep) -> list[DatasetView]:
    """Return the data sets of the catalogue, with the newest initial time of each, which may be some minutes old."""
    await _look_up_new(service)
    return [_view(service, name) for name in service.datasets.by_name]


@router.get("/catalogue")
@router.head("/catalogue", include_in_schema=False)
async def list_states(service: ServiceDep) -> list[State]:
    """Return the initial states of the catalogue: the bundled ones, and the newest of each data set that is fetched."""
    await _look_up_new(service)
    bundled = [State(dataset=state.dataset, init_time=state.init_time) for state in catalogue_states()]
    newest = {name: service.datasets.known_newest(name).init_time for name in service.datasets.fetched_names()}
    found = [State(dataset=name, init_time=format_time(time)) for name, time in newest.items() if time is not None]
    return [*bundled, *found]


async def _look_up_new(service: Service) -> None:
    """Look up the data sets that never were; stop waiting after `WAIT_SECONDS`."""
    names = [name for name in service.datasets.fetched_names() if not service.datasets.known_newest(name).checked]
    with anyio.move_on_after(WAIT_SECONDS):
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(_look_up, service, name)


async def _look_up(service: Service, name: str) -> None:
    await to_thread.run_sync(service.datasets.refresh, name, abandon_on_cancel=True, limiter=FETCHERS)


def _view(service: Service, name: str) -> DatasetView:
    dataset, newest = service.datasets.by_name[name], service.datasets.known_newest(name)
    about = dataset.description
    return DatasetView(
        dataset=name,
        title=about.title,
        licence=about.licence,
        attribution=about.attribution,
        step_hours=dataset.step_hours,
        delay_hours=about.delay_hours,
        state_bytes=about.state_bytes,
        hosts=list(about.hosts),
        init_time=None if newest.init_time is None else format_time(newest.init_time),
        status="unknown" if not newest.checked else "reached" if newest.failure is None else "failing",
        failure=newest.failure,
        failing_since=None if newest.failing_since is None else format_seconds(newest.failing_since),
        late_hours=about.late_hours,
        late=service.datasets.is_late(name),
    )
