"""The damping of a checkpoint's states by total wavenumber, and what it was fitted on, in the manifest."""

from typing import Annotated

from pydantic import Field

from weather.calibration_fit import CalibrationFit
from weather.schema import FrozenModel

Gain = Annotated[float, Field(gt=0, le=1)]


class DampingFit(CalibrationFit):
    """What a damping was fitted on, and how much it helped.

    `deviation` is the mean over variables and lead times of Σ|1 − η| with the damping, `undamped_deviation` without.
    """

    deviation: float
    undamped_deviation: float

    def describe(self) -> str:
        """Return what the damping was fitted on, and how much it helped, in one sentence without a full stop."""
        helped = f"Σ|1 − η| {self.deviation:.3g}, without damping {self.undamped_deviation:.3g}"
        return f"{self.describe_forecasts()}; {helped}"


class DampingSpec(FrozenModel):
    """Factors on the spherical harmonics of a state after each time step, by variable and total wavenumber ℓ = 0 … L.

    They keep power from building up at wavenumbers where the networks lose less of it than they add. A wavenumber of
    gain 1 is left as it is. Variables are in channel order; L is the limit of the grid.
    """

    gains: tuple[tuple[Gain, ...], ...] = Field(min_length=1)
    fitted_on: DampingFit | None = None

    def describe(self) -> str:
        """Return which wavenumbers are damped, and on what that was fitted."""
        return str(self) if self.fitted_on is None else f"{self}, fitted on {self.fitted_on.describe()}"

    def __str__(self) -> str:
        """Return which wavenumbers are damped, in a few words."""
        damped = sorted({degree for gains in self.gains for degree, gain in enumerate(gains) if gain < 1})
        if not damped:
            return "none"
        strongest = min(min(gains) for gains in self.gains)
        return f"ℓ {damped[0]}–{damped[-1]}, by up to {100 * (1 - strongest):.2g} % a time step"
