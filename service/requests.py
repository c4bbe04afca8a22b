"""What callers send: every field bounded, unknown ones refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.request import Output
from jobs.states import Priority
from weather.summary import Summary


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CatalogueSource(_Body):
    """A state of the catalogue."""

    source: Literal["catalogue"]
    dataset: str = Field(max_length=100, examples=["gfs"], description="Data set, as `GET /catalogue` lists it.")
    init_time: str | None = Field(None, max_length=40, description="Time to begin at, UTC; the newest by default.")


class UploadSource(_Body):
    """The file parts of the same multipart request."""

    source: Literal["upload"]
    init_time: str | None = Field(None, max_length=40, description="Time to begin at, UTC; the newest by default.")


class Sampler(_Body):
    """How the flow is sampled; what is left out is the checkpoint's choice."""

    solver: Literal["euler", "midpoint"] | None = None
    nfe: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] | None = Field(
        None,
        description="Network evaluations a time step; `auto`: what the deadline leaves, at most the checkpoint's.",
    )
    warmth: float | None = Field(None, ge=0, le=1, description="1 is fully warm.")


class ForecastBody(_Body):
    """A forecast to be made."""

    model: str = Field(
        "demo", pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$", description="Checkpoint, as `GET /models` lists."
    )
    initial_state: Annotated[CatalogueSource | UploadSource, Field(discriminator="source")]
    lead_time: str = Field("120h", max_length=10, examples=["120h", "5d"], description="How far ahead.")
    members: int = Field(8, ge=1, description="Number of members.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the members' noise; drawn where it is left out."
    )
    sampler: Sampler = Sampler()
    deadline_seconds: float | None = Field(
        None, ge=1, le=2_592_000, description="Seconds from acceptance after which a forecast that has not ended fails."
    )
    priority: Priority = Field(
        Priority.NORMAL, description="Forecasts of a higher priority that wait come first; values do not depend on it."
    )
    summary: Summary = Summary()
    output: Output = Output()


class ReplayBody(_Body):
    """Members of an earlier forecast, to be made again."""

    members: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        min_length=1, max_length=1000, examples=[[7]], description="Their numbers."
    )
