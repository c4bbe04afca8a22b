"""The settings of validation while training: when, on how much held-out data, and which score chooses the weights."""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from weather.schema import FrozenModel
from weather.times import count_lead_times

_DAYS_OF_ROLLOUT = 3


class ValidationConfig(FrozenModel):
    """Validation on the validation years, with the averaged weights, every `every` steps (by default at each save).

    The losses are of `samples` samples. Forecasts of `members` members start at `starts` times and end at the last of
    `lead_times`, by default one time step and 3 days. All are spread evenly over the years, and their noise is the same
    each time, so that scores are comparable. The mean of h alone is rolled out for `growth_days`, or not at all if that
    is 0. The weights that are kept are those with the lowest `select_by`, by default the CRPS at the last lead time; a
    stage that trains h alone has no such score and keeps the lowest `nll`.
    """

    every: int | None = Field(default=None, ge=1)
    samples: int = Field(default=64, ge=1)
    starts: int = Field(default=8, ge=1)
    members: int = Field(default=4, ge=2)
    lead_times: tuple[str, ...] | None = Field(default=None, min_length=1)
    growth_days: float = Field(default=40.0, ge=0)
    select_by: str | None = None

    def lead_steps(self, time_step_hours: int) -> tuple[int, ...]:
        """Return the lead times as ascending numbers of time steps.

        Raises `ConfigurationError` for a lead time that is not a positive multiple of the time step.
        """
        if self.lead_times is None:
            return tuple(sorted({1, math.ceil(24 * _DAYS_OF_ROLLOUT / time_step_hours)}))
        step = np.timedelta64(time_step_hours, "h")
        return tuple(sorted({count_lead_times(text, step) for text in self.lead_times}))

    def growth_steps(self, time_step_hours: int) -> int:
        """Return the number of time steps of the rollout of h's mean, at least 4 unless it is 0."""
        steps = round(24 * self.growth_days / time_step_hours)
        return max(steps, 4) if self.growth_days else 0

    def selectable(self, variables: Sequence[str], time_step_hours: int) -> list[str]:
        """Return the names of the scores that may choose weights: those that are lower for better ones."""
        lead_times = [f"{steps * time_step_hours}h" for steps in self.lead_steps(time_step_hours)]
        crps = [f"crps_{lead}" for lead in lead_times]
        by_variable = [f"{score}_{name}" for score in ("mae", *crps, "residual_deviation") for name in variables]
        return ["nll", "flow_loss", *crps, *by_variable]

    def selection_score(self, time_step_hours: int, *, with_flow: bool) -> str:
        """Return the name of the score by which a stage keeps weights; `with_flow` says whether it trains p'."""
        chosen = self.select_by or f"crps_{self.lead_steps(time_step_hours)[-1] * time_step_hours}h"
        return chosen if with_flow or chosen == "nll" or chosen.startswith("mae_") else "nll"
