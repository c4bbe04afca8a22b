"""What is asked of an ensemble as a whole: which quantiles, and how likely which thresholds are passed."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.errors import ConfigurationError
from weather.variables import KNOWN, WIND_SPEED_10M, Variable

GALE = 17.2
"""Wind speed from Beaufort 8 on, m s-1."""
_MOST = 20

Probability = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Threshold(_Part):
    """An event: a variable above or below a value."""

    variable: str = Field(max_length=40, description="Variable of the checkpoint, or `wind_speed_10m`.")
    op: Literal[">", "<"] = ">"
    value: float = Field(ge=-1e6, le=1e6, description="In the variable's unit.")


class Summary(_Part):
    """What `summary.zarr` holds beside mean and spread."""

    quantiles: tuple[Probability, ...] = Field((0.1, 0.25, 0.5, 0.75, 0.9), max_length=_MOST)
    exceedance: tuple[Threshold, ...] | None = Field(
        None, max_length=_MOST, description=f"By default wind speed > {GALE} m/s, where there is wind."
    )

    @model_validator(mode="after")
    def _without_repetition(self) -> Self:
        if len(set(self.quantiles)) < len(self.quantiles):
            raise ValueError("each of `quantiles` must be there once")
        return self

    def complete(self, variables: Sequence[str]) -> "Summary":
        """Return this in order and with nothing left open.

        Raises `ConfigurationError` for a threshold of what is not there.
        """
        there = [variable.name for variable in summarised(variables)]
        asked = self.exceedance
        if asked is None:
            gale = Threshold(variable=WIND_SPEED_10M.name, value=GALE)
            asked = (gale,) if gale.variable in there else ()
        for threshold in asked:
            if threshold.variable not in there:
                raise ConfigurationError(f"`exceedance` may name {', '.join(there)}. Got: {threshold.variable!r}.")
        ordered = sorted(set(asked), key=lambda threshold: (threshold.variable, threshold.op, threshold.value))
        return Summary(quantiles=tuple(sorted(self.quantiles)), exceedance=tuple(ordered))


def summarised(variables: Sequence[str]) -> tuple[Variable, ...]:
    """Return the variables that a summary tells of: those of the ensemble, and the speed of its wind."""
    speed = (WIND_SPEED_10M,) if {"u10", "v10"} <= set(variables) else ()
    return (*(KNOWN[name] for name in variables), *speed)
