"""How the networks of a forecast are evaluated, which decides the last bits of its values."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, select, update

from jobs.rows.tables import forecasts

Precision = Literal["float32", "tf32", "bfloat16", "float16"]


class Mode(BaseModel):
    """Whether networks are compiled, and the precision of their evaluations; states are always float32."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compiled: bool
    precision: Precision

    @classmethod
    def parse(cls, value: dict[str, Any] | None) -> Self | None:
        """Return the mode in a row, or None if it is not settled."""
        return None if value is None else cls.model_validate(value)

    def device_kind(self, kind: str) -> str:
        """Return a kind of device with this mode, such as `cuda: NVIDIA H100, compiled, bfloat16`, for its speeds."""
        parts = [kind, *["compiled"] * self.compiled, *[self.precision] * (self.precision != "float32")]
        return ", ".join(parts)


def settle_mode(connection: Connection, forecast_id: str, mode: Mode) -> Mode:
    """Return the mode of a forecast; it becomes `mode` if it has none yet, and never changes after that."""
    unsettled = update(forecasts).where(forecasts.c.id == forecast_id, forecasts.c.mode.is_(None))
    connection.execute(unsettled.values(mode=mode.model_dump()))
    return read_mode(connection, forecast_id) or mode


def read_mode(connection: Connection, forecast_id: str) -> Mode | None:
    """Return the mode of a forecast, or None if it is not settled."""
    return Mode.parse(connection.scalar(select(forecasts.c.mode).where(forecasts.c.id == forecast_id)))
