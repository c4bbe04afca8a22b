"""Trials of noise: forecasts with it and their scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.calibration.forecasts import Forecasts
from training.validation_records import Record, combine_records, score_members
from weather.manifest import NoiseSpec

_FORMAT = 2
"""Version of the file of trials."""

Trial = Mapping[str, Any]
"""The parameters of a `noise`, and for each of the `lead_times` the scores of each variable; as JSON."""


class Trials:
    """Forecasts with one noise after another, and their scores."""

    def __init__(self, forecasts: Forecasts) -> None:
        self.forecasts = forecasts

    def settings(self) -> dict[str, Any]:
        """Return what trials depend on besides their noise, as JSON; the noise of the checkpoint does not matter."""
        return {"trials_format": _FORMAT} | self.forecasts.settings()

    def score(self, noise: NoiseSpec) -> dict[str, Any]:
        """Return the trial of a noise; scores of forecasts that lost a member are None."""
        grid = self.forecasts.spec.grid.grid
        by_step: dict[int, list[Record]] = {}
        for start in self.forecasts.starts:
            for each in self.forecasts.compute(start, noise):
                by_step.setdefault(each.steps, []).append(score_members(each.steps, each.members, each.truth, grid))
        return {
            "noise": noise.parameters,
            "lead_times": [self._combine(steps, by_step[steps]) for steps in sorted(by_step)],
        }

    def _combine(self, steps: int, records: Sequence[Record]) -> dict[str, Any]:
        """Return the scores at a lead time, by variable, and the number of starts that have truth at it."""
        spec, members = self.forecasts.spec, self.forecasts.evaluation.num_members
        names, hours = spec.variable_names, steps * spec.time_step_hours
        scores = combine_records(records, spec.variables, spec.time_step_hours, members)
        return {
            "lead_hours": hours,
            "starts": len(records),
            "crps": [_finite(scores[f"crps_{hours}h_{name}"]) for name in names],
            "spread_skill": [_finite(scores[f"spread_skill_{hours}h_{name}"]) for name in names],
        }


def objective(trial: Trial, white: Trial, spread_weight: float) -> float:
    """Return J = ⟨CRPS / CRPS_white⟩ + `spread_weight` · ⟨ln²(spread ÷ skill)⟩; infinite if a member was lost.

    ⟨·⟩ is the mean over lead times, weighted by their number of starts, and variables; the CRPS is fair and CRPS_white
    that of the trial `white` at the same lead time. A ratio of 1 ± 0.1 adds `spread_weight` · 0.01.
    """
    weights = [row["starts"] for row in trial["lead_times"]]
    crps, reference, ratio = (
        np.array([row[name] for row in of["lead_times"]], np.float64)
        for of, name in ((trial, "crps"), (white, "crps"), (trial, "spread_skill"))
    )
    parts = crps / reference + spread_weight * np.log(ratio) ** 2
    value = float(np.average(parts.mean(axis=1), weights=weights))
    return value if math.isfinite(value) else math.inf


def scale_objective(trial: Trial, scales: Sequence[float], guess: Sequence[float]) -> float:
    """Return J = ⟨ln²(spread ÷ skill)⟩ + ⟨ln²(scale ÷ first guess)⟩; infinite if a member was lost.

    ⟨·⟩ is as in `objective`. The first part is of the spread, where the variance is large, the second of the power of
    one-step residuals, equal to the truth's at the first guess. The CRPS hardly depends on a scale, and is not counted.
    """
    value = float(np.sum(spread_errors(trial) ** 2) + np.mean(np.log(np.divide(scales, guess)) ** 2))
    return value if math.isfinite(value) else math.inf


def spread_errors(trial: Trial) -> NDArray[np.float64]:
    """Return ln(spread ÷ skill) of all lead times and variables, weighted: the sum of squares is ⟨ln²(…)⟩."""
    weights = np.array([row["starts"] for row in trial["lead_times"]])[:, None]
    ratio = np.array([row["spread_skill"] for row in trial["lead_times"]], np.float64)
    errors: NDArray[np.float64] = np.log(ratio) * np.sqrt(weights / weights.sum() / ratio.shape[1])
    return errors.ravel()


def _finite(score: Any) -> float | None:
    return float(score) if math.isfinite(score) else None
