"""Request bodies of the API: every field is bounded, unknown fields are refused."""

from typing import Annotated, Literal

from pydantic import Field

from jobs.request import Output
from jobs.rows.states import Priority
from weather.schema import FrozenModel
from weather.stores.summary_request import Summary


class CatalogueSource(FrozenModel):
    """An initial state of the catalogue."""

    source: Literal["catalogue"]
    dataset: str = Field(max_length=100, examples=["gfs"], description="Data set, as listed by `GET /catalogue`.")
    init_time: str | None = Field(None, max_length=40, description="Initial time in UTC; the newest by default.")


class UploadSource(FrozenModel):
    """An initial state in the files of the same multipart request."""

    source: Literal["upload"]
    init_time: str | None = Field(None, max_length=40, description="Initial time in UTC; the newest by default.")


class Sampler(FrozenModel):
    """How the flow is sampled; missing fields take the checkpoint's values."""

    solver: Literal["euler", "midpoint"] | None = None
    nfe: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] | None = Field(
        None,
        description="Evaluations per time step; `auto`: as many as the deadline allows, up to the checkpoint's.",
    )
    warmth: float | None = Field(None, ge=0, le=1, description="Warmth of the start, from 0 (noise) to 1 (fully warm).")


class ForecastBody(FrozenModel):
    """A forecast to submit."""

    model: str = Field(
        "demo", pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$", description="Name of a checkpoint, as listed by `GET /models`."
    )
    initial_state: Annotated[CatalogueSource | UploadSource, Field(discriminator="source")]
    lead_time: str = Field(
        "120h", max_length=10, examples=["120h", "5d"], description="Length of the forecast, in hours or days."
    )
    members: int = Field(8, ge=1, description="Number of ensemble members.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the members' noise; random by default.")
    sampler: Sampler = Sampler()
    deadline_seconds: float | None = Field(
        None, ge=1, le=2_592_000, description="Seconds after acceptance at which a forecast that has not ended fails."
    )
    priority: Priority = Field(
        Priority.NORMAL,
        description="Waiting forecasts of a higher priority start first; the values do not depend on it.",
    )
    summary: Summary = Summary()
    output: Output = Output()


class ReplayBody(FrozenModel):
    """Members of an earlier forecast to recompute."""

    members: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        min_length=1, max_length=1000, examples=[[7]], description="Numbers of the members."
    )
