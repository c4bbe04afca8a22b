"""The part of a request that defines the summary: quantiles, and probabilities of exceeding thresholds."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

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

    @field_validator("quantiles")
    @classmethod
    def _check_quantiles(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(quantiles)) < len(quantiles):
            raise ValueError(f"`quantiles` must be different from each other. Got: {list(quantiles)}")
        return quantiles

    def with_defaults(self, variables: Sequence[str]) -> "Summary":
        """Return this request in sorted order, with the default thresholds for an ensemble of `variables` filled in.

        Raises `ConfigurationError` for a threshold of a variable that the ensemble does not have.
        """
        known = [variable.name for variable in summary_variables(variables)]
        thresholds = self.exceedance
        if thresholds is None:
            gale = Threshold(variable=WIND_SPEED_10M.name, value=GALE)
            thresholds = (gale,) if gale.variable in known else ()
        for index, threshold in enumerate(thresholds):
            if threshold.variable not in known:
                raise ConfigurationError(
                    f"`exceedance` may name {', '.join(known)}. Got: {threshold.variable!r}.",
                    ("exceedance", index, "variable"),
                )
        ordered = sorted(set(thresholds), key=lambda threshold: (threshold.variable, threshold.op, threshold.value))
        return Summary(quantiles=tuple(sorted(self.quantiles)), exceedance=tuple(ordered))


def summary_variables(variables: Sequence[str]) -> tuple[Variable, ...]:
    """Return the variables of a summary: those of the ensemble, and wind speed if it has both components."""
    speed = (WIND_SPEED_10M,) if {"u10", "v10"} <= set(variables) else ()
    return (*(KNOWN[name] for name in variables), *speed)
