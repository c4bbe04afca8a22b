"""The damping of a checkpoint's states by total wavenumber and latitude, and what it was fitted on, in the manifest."""

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
    """Changes of a state after each time step, which keep forecasts from drifting away from the climate.

    First each spherical harmonic is multiplied by the gain of its variable and total wavenumber ℓ = 0 … L, so that no
    power builds up where the networks lose less of it than they add; L is the limit of the grid. Then the departures
    from the zonal mean, the eddies, are multiplied by `eddy_gains`, and `shifts` are added to the zonal mean, by
    variable and latitude, in the variable's unit. Gains of 1 and shifts of 0 leave a state as it is. Variables and
    latitudes are in the order of the grid.
    """

    gains: tuple[tuple[Gain, ...], ...] = Field(min_length=1)
    eddy_gains: tuple[tuple[Gain, ...], ...] | None = Field(default=None, exclude_if=lambda gains: gains is None)
    shifts: tuple[tuple[float, ...], ...] | None = Field(default=None, exclude_if=lambda shifts: shifts is None)
    fitted_on: DampingFit | None = None

    def check_shape(self, num_variables: int, num_wavenumbers: int, num_latitudes: int) -> None:
        """Raise `ValueError` unless there is a value for each variable, and wavenumber or latitude."""
        for name, values, size, axis in (
            ("gains", self.gains, num_wavenumbers, "total wavenumbers"),
            ("eddy_gains", self.eddy_gains, num_latitudes, "latitudes"),
            ("shifts", self.shifts, num_latitudes, "latitudes"),
        ):
            if values is not None and [len(row) for row in values] != [size] * num_variables:
                raise ValueError(
                    f"`damping` must have {name} of {num_variables} variables and {size} {axis}. Got: "
                    f"{' and '.join(str(len(row)) for row in values)} {name}"
                )

    def describe(self) -> str:
        """Return what is damped and shifted, and on what that was fitted."""
        return str(self) if self.fitted_on is None else f"{self}, fitted on {self.fitted_on.describe()}"

    def __str__(self) -> str:
        """Return which wavenumbers are damped, and how much eddies and zonal means are changed, in a few words."""
        parts = []
        damped = sorted({degree for gains in self.gains for degree, gain in enumerate(gains) if gain < 1})
        if damped:
            parts.append(f"ℓ {damped[0]}–{damped[-1]}, by up to {_percent(self.gains)} % a time step")
        if self.eddy_gains is not None and min(map(min, self.eddy_gains)) < 1:
            parts.append(f"eddies by up to {_percent(self.eddy_gains)} %")
        if self.shifts is not None and any(map(any, self.shifts)):
            largest = max(abs(shift) for shifts in self.shifts for shift in shifts)
            parts.append(f"zonal means shifted by up to {largest:.2g}")
        return ", ".join(parts) or "none"


def _percent(gains: tuple[tuple[float, ...], ...]) -> str:
    return f"{100 * (1 - min(map(min, gains))):.2g}"
