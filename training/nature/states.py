"""Which years a nature run has: the start states, their seeds and calendars, and the settings of its folder."""

import datetime as dt
import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from storage.atomic import write_text
from storage.errors import ConfigurationError, WarmcastError

SETTINGS_NAME = "nature-run.json"
_FIRST_YEAR, _LAST_YEAR = 1679, 2261
"""Range of the times that NumPy and pandas keep in nanoseconds."""
_TINY_DAYS = 2


class SimulationError(WarmcastError):
    """The simulation cannot be continued."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True)
class StartState:
    """An atmosphere of its own: a year of spin-up, then `years` that follow each other.

    The spin-up begins at rest, with the surface pressure disturbed by a random stream of this start state. The stream
    depends on the seed and on the calendar, so that no other start state of the seed has it.
    """

    seed: int
    first_year: int
    years: int
    is_tiny: bool

    @property
    def random_seed(self) -> int:
        """The seed of the disturbance, in 32 bits."""
        return int(np.random.SeedSequence([self.seed, self.first_year]).generate_state(1)[0])

    @property
    def calendar(self) -> range:
        """The years of the spin-up, whose frames are not kept, and of the files."""
        return range(self.first_year - 1, self.first_year + self.years)

    @property
    def num_days(self) -> int:
        """Number of days to simulate, the spin-up among them."""
        return sum(self.days_of(year) for year in self.calendar)

    def days_of(self, year: int) -> int:
        """Return the number of days that are simulated of a year."""
        if self.is_tiny:
            return _TINY_DAYS
        return (dt.date(year + 1, 1, 1) - dt.date(year, 1, 1)).days


@dataclass(frozen=True)
class NatureRun:
    """Settings of a nature run. Raises `ConfigurationError` if a year is outside of the range of times in files."""

    years: int
    """Number of years of each start state."""
    start_states: int
    first_year: int
    seed: int
    is_tiny: bool = False
    """Simulate two days of each year only."""

    def __post_init__(self) -> None:
        last = self.first_year + self.start_states * (self.years + 1) - 2
        if self.first_year < _FIRST_YEAR or last > _LAST_YEAR:
            raise ConfigurationError(
                f"--first-year, --years and --start-states must give years from {_FIRST_YEAR} to {_LAST_YEAR}. "
                f"Got: {self.first_year} to {last}."
            )

    def list_start_states(self) -> Iterator[StartState]:
        """Yield the start states. The year before the first of each is its spin-up, so that no sample spans two."""
        for number in range(self.start_states):
            first_year = self.first_year + number * (self.years + 1)
            yield StartState(self.seed, first_year, self.years, self.is_tiny)


def keep_settings(folder: Path, run: NatureRun, versions: dict[str, str]) -> None:
    """Write the settings to the folder, so that others are not mixed with them.

    More start states are possible, and more years if there is one start state. Raises `ConfigurationError` if the
    folder has other settings, or if other `versions` of packages made its years.
    """
    path = folder / SETTINGS_NAME
    wanted = asdict(run) | {"versions": versions}
    if path.exists():
        found = json.loads(path.read_text())
        for name, value in wanted.items():
            if found.get(name) != value and not _may_grow(name, found, wanted):
                raise ConfigurationError(
                    f"`{folder}` has a nature run with `{name}` {found.get(name)}. Got: {value}. "
                    "Choose another --output, or repeat the command with the settings of the folder."
                )
    write_text(path, json.dumps(wanted, indent=1) + "\n")


def _may_grow(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    if name == "start_states":
        return bool(found[name] <= wanted[name])
    return bool(name == "years" and found["start_states"] == wanted["start_states"] == 1 and found[name] < wanted[name])


def list_versions() -> dict[str, str]:
    """Return the versions of the packages that the winds depend on."""
    return {name: importlib.metadata.version(name) for name in ("jcm", "dinosaur", "jax", "jaxlib")}
