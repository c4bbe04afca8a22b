"""The JSON view of a limit of an API key, as problems and the route of the limits have it."""

from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, Field

from jobs.errors import LimitState


class LimitView(BaseModel):
    """A limit of the caller's API key: its value, and how much of it is used."""

    name: str
    value: int | None = Field(description="Null: no limit.")
    used: int | None = Field(description="Null for a limit of one forecast, or of requests at the same time.")
    frees: str | None = Field(
        description="Time (UTC) at which all of it is free; null if that depends on the end or deletion of forecasts."
    )

    @classmethod
    def of(cls, state: LimitState) -> Self:
        """Return the view of a limit."""
        frees = None if state.frees is None else datetime.fromtimestamp(state.frees, UTC)
        return cls(
            name=state.name,
            value=state.value,
            used=state.used,
            frees=None if frees is None else frees.isoformat(timespec="seconds").replace("+00:00", "Z"),
        )
