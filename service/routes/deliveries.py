"""The route of the deliveries of a forecast's callback."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from jobs.deliveries import list_deliveries
from jobs.rows.states import DeliveryState
from service.dependencies import OwnForecast, ServiceDep
from service.problems import PROBLEM_RESPONSES
from service.threads import READERS, in_threads
from service.views import format_time

router = APIRouter(tags=["forecasts"], responses=PROBLEM_RESPONSES)


class DeliveryView(BaseModel):
    """A delivery of an event: `stopped` after the answer 410 or for a revoked or expired key, or `given_up`."""

    webhook_id: str = Field(description="The header `webhook-id`, the same in each attempt.")
    event: str
    state: DeliveryState
    attempts: int
    created: str
    next_attempt: str | None
    finished: str | None
    status_code: int | None = Field(description="Status of the last answer.")
    error: str | None = Field(description="Why the last attempt failed.")


class DeliveryList(BaseModel):
    """The deliveries of a forecast, oldest first."""

    deliveries: list[DeliveryView]


@router.get("/forecast/{forecast_id}/deliveries")
@router.head("/forecast/{forecast_id}/deliveries", include_in_schema=False)
@in_threads(READERS)
def read_deliveries(record: OwnForecast, service: ServiceDep) -> DeliveryList:
    """Return what was sent, or will be, to the callback of a forecast, and how often it was tried."""
    with service.database.read() as connection:
        rows = list_deliveries(connection, record.id)
    times = ("created", "next_attempt", "finished")
    views = [
        DeliveryView.model_validate(
            {name: row[name] for name in DeliveryView.model_fields}
            | {name: None if row[name] is None else format_time(row[name]) for name in times}
        )
        for row in rows
    ]
    return DeliveryList(deliveries=views)
