"""The part of a request that says what a summary holds: quantiles, and probabilities of exceeding thresholds."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from storage.errors import ConfigurationError
from weather.schema import FrozenModel
from weather.variables import KNOWN, WIND_SPEED_10M, Variable

GALE = 17.2
"""Wind speed from Beaufort 8 on, m s-1."""
_MAX_ITEMS = 20

Probability = Annotated[float, Field(ge=0, le=1)]


class Threshold(FrozenModel):
    """An event: a variable above or below a value."""

    variable: str = Field(max_length=40, description="Variable of the checkpoint, or `wind_speed_10m`.")
    op: Literal[">", "<"] = ">"
    value: float = Field(ge=-1e6, le=1e6, description="In the variable's unit.")


class Summary(FrozenModel):
    """Contents of `summary.zarr` in addition to mean and spread."""

    quantiles: tuple[Probability, ...] = Field((0.1, 0.25, 0.5, 0.75, 0.9), max_length=_MAX_ITEMS)
    exceedance: tuple[Threshold, ...] | None = Field(
        None, max_length=_MAX_ITEMS, description=f"By default wind speed > {GALE} m/s, if the variables have wind."
    )

    @model_validator(mode="after")
    def _check_quantiles(self) -> Self:
        if len(set(self.quantiles)) < len(self.quantiles):
            raise ValueError("`quantiles` must be different from each other")
        return self

    def with_defaults(self, variables: Sequence[str]) -> "Summary":
        """Return this request in sorted order, with the default thresholds for an ensemble of `variables` filled in.

        Raises `ConfigurationError` for a threshold of a variable that the ensemble does not have.
        """
        known = [variable.name for variable in summary_variables(variables)]
        thresholds = self.exceedance
        if thresholds is None:
            gale = Threshold(variable=WIND_SPEED_10M.name, value=GALE)
            thresholds = (gale,) if gale.variable in known else ()
        for threshold in thresholds:
            if threshold.variable not in known:
                raise ConfigurationError(f"`exceedance` may name {', '.join(known)}. Got: {threshold.variable!r}.")
        ordered = sorted(set(thresholds), key=lambda threshold: (threshold.variable, threshold.op, threshold.value))
        return Summary(quantiles=tuple(sorted(self.quantiles)), exceedance=tuple(ordered))


def summary_variables(variables: Sequence[str]) -> tuple[Variable, ...]:
    """Return the variables of a summary: those of the ensemble, and wind speed if it has both components."""
    speed = (WIND_SPEED_10M,) if {"u10", "v10"} <= set(variables) else ()
    return (*(KNOWN[name] for name in variables), *speed)
