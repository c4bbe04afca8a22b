"""The route of the caller's limits."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from jobs.errors import LimitState
from jobs.kept_states import count_states
from jobs.limits import default_limits, list_states, read_limits, read_usage
from jobs.rows.states import Role
from service.dependencies import CallerDep, ServiceDep
from service.limit_views import LimitView
from service.problems import PROBLEM_RESPONSES
from service.rate_limits import rate_limit_headers
from service.views import format_time

router = APIRouter(tags=["limits"], responses=PROBLEM_RESPONSES)


class LimitsView(BaseModel):
    """The limits of the caller's API key; without a key their values are null."""

    role: Role = Field(description="What the key allows.")
    owner: str = Field(description="Id of the key whose forecasts the caller uses; `local` without keys.")
    expires: str | None = Field(description="Time (UTC) at which the key expires; null if it does not.")
    high_priority: bool = Field(description="Whether forecasts may have the priority high.")
    limits: list[LimitView]


@router.get("/limits")
@router.head("/limits", include_in_schema=False)
def read_own_limits(service: ServiceDep, caller: CallerDep, response: Response) -> LimitsView:
    """Return the limits of the caller's API key and how much of them is used; to a reader those of the key it reads."""
    owner = caller.owner
    with service.database.read() as connection:
        limits = read_limits(connection, owner, default_limits(service.settings.limits))
        used, (num_states, _) = read_usage(connection, owner), count_states(connection, owner)
    max_states = None if limits is None else service.settings.limits.max_states
    states = [*list_states(limits, used), LimitState("states", max_states, num_states)]
    response.headers.update(rate_limit_headers(states))
    views = [LimitView.of(state) for state in states]
    return LimitsView(
        role=caller.role,
        owner=owner,
        expires=None if caller.expires is None else format_time(caller.expires),
        high_priority=limits is None or limits.high_priority,
        limits=views,
    )
