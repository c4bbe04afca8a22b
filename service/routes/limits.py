"""The route of the caller's limits."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from jobs.limits import list_states, read_limits, read_usage
from service.dependencies import Owner, ServiceDep
from service.limit_views import LimitView
from service.limits import default_limits
from service.problems import PROBLEM_RESPONSES

router = APIRouter(tags=["limits"], responses=PROBLEM_RESPONSES)


class LimitsView(BaseModel):
    """The limits of the caller's API key; without a key their values are null."""

    high_priority: bool = Field(description="Whether forecasts may have the priority high.")
    limits: list[LimitView]


@router.get("/limits")
@router.head("/limits", include_in_schema=False)
def read_own_limits(service: ServiceDep, owner: Owner) -> LimitsView:
    """Return the limits of the caller's API key and how much of them is used."""
    with service.database.read() as connection:
        limits = read_limits(connection, owner, default_limits(service.settings.limits))
        used = read_usage(connection, owner)
    views = [LimitView.of(state) for state in list_states(limits, used)]
    return LimitsView(high_priority=limits is None or limits.high_priority, limits=views)
