"""The route of what keys have used."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from jobs.usage import OwnerUsage, list_usage
from service.dependencies import CallerDep, ServiceDep
from service.problems import PROBLEM_RESPONSES
from service.roles import ALL_OWNERS, check_owner

router = APIRouter(tags=["limits"], responses=PROBLEM_RESPONSES)


class CountsView(BaseModel):
    """Forecasts and evaluations of a day, or in all."""

    accepted: int
    uploads: int = Field(description="Accepted forecasts that start from files of their request.")
    successful: int
    failed: int
    dismissed: int
    evaluations: int = Field(description="Evaluations of both networks that ended forecasts have taken.")


class DayView(CountsView):
    """The usage of a day (UTC): of acceptance, or of the end."""

    day: str


class OwnerUsageView(BaseModel):
    """The usage of a key; days without any are left out."""

    owner: str
    open_forecasts: int
    kept_bytes: int = Field(description="Bytes of its forecasts and of its kept initial states.")
    total: CountsView
    days: list[DayView]


class UsageView(BaseModel):
    """The usage of the caller's key, or of several."""

    usage: list[OwnerUsageView]


@router.get("/usage")
@router.head("/usage", include_in_schema=False)
def read_usage_of_keys(
    service: ServiceDep,
    caller: CallerDep,
    days: Annotated[int, Query(ge=1, le=3660, description="Number of days until today.")] = 30,
    owner: Annotated[
        str | None, Query(max_length=64, description="For operators: an API key, or `all`; by default the caller's.")
    ] = None,
) -> UsageView:
    """Return what a key has used: forecasts, uploads and evaluations, in all and by day; empty if nothing."""
    check_owner(caller, owner)
    with service.database.read() as connection:
        found = list_usage(connection, None if owner == ALL_OWNERS else owner or caller.owner, days)
    return UsageView(usage=[_view(each) for each in found])


def _view(found: OwnerUsage) -> OwnerUsageView:
    return OwnerUsageView(
        owner=found.owner,
        open_forecasts=found.open_forecasts,
        kept_bytes=found.kept_bytes,
        total=CountsView(**asdict(found.total)),
        days=[DayView(day=_date(day), **asdict(counts)) for day, counts in found.days.items()],
    )


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86400, UTC).date().isoformat()
