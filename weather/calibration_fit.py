"""What a property of a checkpoint was fitted on, in its manifest: the part that all such properties share."""

from pydantic import Field

from weather.periods import Periods, format_periods
from weather.schema import FrozenModel


class CalibrationFit(FrozenModel):
    """The data, years or periods, forecasts and sampling that a property of a checkpoint was fitted on."""

    data: str
    years: Periods
    starts: int = Field(ge=1)
    members: int = Field(ge=2)
    lead_hours: tuple[int, ...] = Field(min_length=1)
    sampling: str

    def describe_forecasts(self) -> str:
        """Return data, years, forecasts and sampling in a few words."""
        hours = "–".join(map(str, dict.fromkeys((self.lead_hours[0], self.lead_hours[-1])))) + " h"
        return (
            f"{self.data}, {format_periods(self.years)}: {self.starts} starts, {self.members} members, {hours}, "
            f"{self.sampling}"
        )
