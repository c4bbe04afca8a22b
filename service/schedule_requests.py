"""The bodies that make and change schedules."""

import hashlib
import json
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from jobs.schedule_cycles import MAX_CATCH_UP
from jobs.schedules import Plan
from service.requests import ForecastOptions
from weather.schema import FrozenModel, check_printable

CATCH_UP = {"skip": 0, "newest": 1, "all": MAX_CATCH_UP}
"""Numbers of cycles that are caught up, by name."""
_NAMES = {number: name for name, number in CATCH_UP.items()}

Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(check_printable)]
CatchUp = Literal["skip", "newest", "all"] | Annotated[int, Field(ge=2, lt=MAX_CATCH_UP)]
_Time = Annotated[str, Field(max_length=40)]
_Hours = Annotated[float, Field(ge=1, le=240)]


class ScheduleBody(FrozenModel):
    """A schedule: one forecast for each cycle of a data set."""

    name: Name = Field(description="Name that none of the caller's other schedules has.", examples=["north sea"])
    dataset: str = Field(max_length=100, examples=["gfs"], description="Data set, as listed by `GET /catalogue`.")
    every_hours: int = Field(
        6, ge=1, le=240, description="Hours from one cycle to the next: a multiple of the data set's step."
    )
    offset_hours: int = Field(
        0, ge=0, lt=240, description="Hours of the cycles after multiples of `every_hours` since 1970, 00 UTC."
    )
    start: _Time | None = Field(
        None,
        description="First initial time, UTC; by default that of the present cycle. Earlier cycles begin when the "
        "schedule is made.",
    )
    stop: _Time | None = Field(None, description="Last initial time, UTC; by default there is none.")
    catch_up: CatchUp = Field(
        "newest",
        description="Cycles that are still submitted when their `wait_hours` have passed, for 30 days more: none "
        "(`skip`), the `newest`, so many of the newest, or `all`.",
    )
    wait_hours: _Hours = Field(12, description="Hours after the initial time for which a cycle is waited for.")
    late_hours: _Hours | None = Field(
        None,
        description="Hours after the initial time from which a waiting cycle counts as late; by default those of the "
        "data set, or 9 if its analyses are never late.",
    )
    verify: bool | None = Field(
        None,
        description="Whether forecasts are verified against the data set's later analyses; by default if the fields of "
        "two or more members are stored.",
    )
    forecast: ForecastOptions = Field(
        ForecastOptions(), description="What is submitted: the body of a forecast without `initial_state`."
    )


class ScheduleChange(FrozenModel):
    """Fields of a schedule to change; others stay. `forecast` is replaced as a whole."""

    state: Literal["active", "paused"] | None = Field(None, description="Whether forecasts are submitted.")
    name: Name | None = None
    dataset: str | None = Field(None, max_length=100)
    every_hours: int | None = Field(None, ge=1, le=240)
    offset_hours: int | None = Field(None, ge=0, lt=240)
    stop: _Time | None = None
    catch_up: CatchUp | None = None
    wait_hours: _Hours | None = None
    late_hours: _Hours | None = None
    verify: bool | None = None
    forecast: ForecastOptions | None = None

    def apply_to(self, plan: Plan) -> ScheduleBody | None:
        """Return the body of a schedule with these changes, or None if none is of its plan."""
        changes = {name: getattr(self, name) for name in self.model_fields_set - {"state"}}
        kept = {name: value for name, value in changes.items() if value is not None or name in {"stop", "verify"}}
        return ScheduleBody.model_validate(plan_fields(plan) | kept) if kept else None


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return the fields of the body that makes a schedule with this plan, with the secret of its callback."""
    return {
        "name": plan.name,
        "dataset": plan.dataset,
        "every_hours": plan.every_hours,
        "offset_hours": plan.offset_hours,
        "start": format_cycle(plan.start),
        "stop": None if plan.stop is None else format_cycle(plan.stop),
        "catch_up": _NAMES.get(plan.catch_up, plan.catch_up),
        "wait_hours": plan.wait_hours,
        "late_hours": plan.late_hours,
        "verify": plan.verify,
        "forecast": dict(plan.forecast),
    }


def format_cycle(time: int) -> str:
    """Return an initial time, such as `2018-09-15T00:00:00`."""
    return str(np.datetime64(time, "s"))


def digest_of(body: ScheduleBody) -> str:
    """Return the SHA-256 of a body, with the secret of its callback."""
    content = body.model_dump(mode="json") | {"forecast": options_row(body.forecast)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def options_row(options: ForecastOptions) -> dict[str, Any]:
    """Return the fields of a forecast as they are stored, with the secret of its callback."""
    callback = None if options.callback is None else options.callback.row
    return options.model_dump(mode="json") | {"callback": callback}
