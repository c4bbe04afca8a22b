"""The colour of a checkpoint's noise, and what it was fitted on, in the manifest."""

import math
from typing import Annotated

from pydantic import Field

from weather.calibration_fit import CalibrationFit
from weather.schema import FrozenModel

HIGHEST_GAIN, _LEAST_WEIGHT = 10.0, 0.01

ColourGain = Annotated[float, Field(gt=0, le=HIGHEST_GAIN)]


class ColourFit(CalibrationFit):
    """What a colour was fitted on, and how much it helped.

    `deviation` is the mean over variables of Σ|1 − η| of residuals after one time step with the colour,
    `white_deviation` without.
    """

    deviation: float
    white_deviation: float

    def describe(self) -> str:
        """Return what the colour was fitted on, and how much it helped, in one sentence without a full stop."""
        helped = f"Σ|1 − η| of residuals {self.deviation:.3g}, without colour {self.white_deviation:.3g}"
        return f"{self.describe_forecasts()}; {helped}"


class NoiseColour(FrozenModel):
    """Gains of the noise, with which members' residuals after one time step have the power of the truth's.

    Each spherical harmonic of the noise is multiplied by the gain of its variable and total wavenumber ℓ = 0 … L before
    the flow starts from it; L is the limit of the grid. Gains are those of the first time step, and tend to 1 over the
    lead times with the e-folding time `decay_hours`. Gains of 1 leave the noise as it is. Variables are in the order of
    the channels.
    """

    gains: tuple[tuple[ColourGain, ...], ...] = Field(min_length=1)
    decay_hours: float = Field(default=24.0, gt=0, allow_inf_nan=False)
    fitted_on: ColourFit | None = None

    def check_shape(self, num_variables: int, num_wavenumbers: int) -> None:
        """Raise `ValueError` unless there is a gain for each variable and wavenumber."""
        if [len(row) for row in self.gains] != [num_wavenumbers] * num_variables:
            raise ValueError(
                f"`colour` must have gains of {num_variables} variables and {num_wavenumbers} total wavenumbers. Got: "
                f"{' and '.join(str(len(row)) for row in self.gains)} gains"
            )

    def weight_at(self, step: int, time_step_hours: float) -> float:
        """Return the share of the gains' departure from 1 that is left at a step; steps count from 0.

        w_k = exp(−k·Δt / decay), and 0 where that is less than a hundredth.
        """
        weight = math.exp(-step * time_step_hours / self.decay_hours)
        return weight if weight >= _LEAST_WEIGHT else 0.0

    def describe(self) -> str:
        """Return how much the noise is changed and, if that was fitted, on what."""
        return str(self) if self.fitted_on is None else f"{self}, fitted on {self.fitted_on.describe()}"

    def __str__(self) -> str:
        """Return the least and the largest gain in a few words."""
        least, largest = min(map(min, self.gains)), max(map(max, self.gains))
        time = f"an e-folding time of {self.decay_hours:g} h"
        return f"noise × {least:.2f} to {largest:.2f} by wavenumber, tending to 1 with {time}"
