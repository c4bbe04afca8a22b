"""Request bodies of `POST /states`."""

from typing import Annotated, Literal, Self

from pydantic import Field, RootModel, model_validator

from jobs.request import CatalogueSource
from weather.bundled import DEFAULT_CHECKPOINT
from weather.schema import FrozenModel

Model = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$",
        description="Name of the checkpoint whose grid and variables the state gets; others of the same can use it.",
    ),
]


class UploadedState(FrozenModel):
    """What a multipart request says of the files of an initial state."""

    model: Model = DEFAULT_CHECKPOINT
    init_time: str | None = Field(None, max_length=40, description="Initial time in UTC; the newest by default.")


class CatalogueState(CatalogueSource):
    """An initial state of the catalogue to keep."""

    model: Model = DEFAULT_CHECKPOINT


class ForecastState(FrozenModel):
    """A lead time of one member of a forecast of the same caller to keep as an initial state, or its own initial state.

    The frames are those at the lead time and before it, one time step apart.
    """

    source: Literal["forecast"]
    id: str = Field(max_length=40, examples=["fc_0123456789abcdef01234567"], description="Id of that forecast.")
    lead_time: str | None = Field(
        None,
        max_length=10,
        examples=["24h"],
        description="Lead time; by default the state that the forecast starts from.",
    )
    member: int | None = Field(None, ge=0, lt=2**31, description="Number of the member; only with `lead_time`.")

    @model_validator(mode="after")
    def _require_both(self) -> Self:
        if (self.lead_time is None) != (self.member is None):
            raise ValueError(
                "`lead_time` and `member` must be given together, or neither. Got: "
                f"{'`member`' if self.lead_time is None else '`lead_time`'} alone"
            )
        return self


class StateBody(RootModel[Annotated[CatalogueState | ForecastState, Field(discriminator="source")]]):
    """The source of an initial state to keep."""
