"""Simulate the years of one start state, from the state on disk if there is one."""

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage.lock import lock_file
from training.nature.files import (
    PACKING,
    Position,
    Surface,
    read_days_done,
    read_position,
    remove_abandoned,
    save_position,
    state_path,
    write_year,
    year_path,
)
from training.nature.states import SimulationError, StartState

if TYPE_CHECKING:
    from training.nature.model import Planet, Winds

_SAVE_EVERY = 30
"""Simulated days between two saved states; one for tiny years."""

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def count_days_done(folder: Path, start: StartState) -> int:
    """Return the number of simulated days of a start state that need not be made again.

    Raises `SimulationError` if a file of a year that was made is missing.
    """
    done = read_days_done(state_path(folder, start))
    if done is None:
        return 0
    for year in range(start.first_year, done[0]):
        if not year_path(folder, year).exists():
            raise SimulationError(
                f"`{year_path(folder, year)}` is missing, though it was made. Put it back, or delete "
                f"`{state_path(folder, start)}` to make the years of this start state again."
            )
    return sum(start.days_of(year) for year in start.calendar if year < done[0]) + done[1]


def simulate_years(folder: Path, start: StartState, report: Callable[[int], None]) -> None:
    """Simulate on one thread and write the years of a start state that are missing in `folder`.

    `report` receives the number of days that were simulated, again and again. A killed run goes on from the last saved
    state, and its files have the same bytes as those of an uninterrupted one. Raises `SimulationError` if a wind is not
    finite.
    """
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no lines about slow compilation
    from training.nature.model import Planet, list_arrays  # JAX reads the variables when it is loaded

    path = state_path(folder, start)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(path.with_suffix(".lock")):
        remove_abandoned(folder, start)
        planet = Planet()
        if path.exists():
            position = read_position(path)
        else:
            position = Position(
                start.calendar[0], 0, _no_winds(planet.surface), list_arrays(planet.start(start.random_seed))
            )
        while position.year < start.calendar.stop:
            before = position.day
            position = _simulate_days(planet, start, position)
            days = position.day - before
            if position.day == start.days_of(position.year):
                if position.year >= start.first_year:
                    write_year(year_path(folder, position.year), start, position.year, position.winds, planet.surface)
                position = Position(position.year + 1, 0, _no_winds(planet.surface), position.arrays)
            save_position(path, position)
            report(days)


def _simulate_days(planet: "Planet", start: StartState, position: Position) -> Position:
    """Return the position some days later, at most at the end of the year; winds of the spin-up are not kept."""
    from training.nature.model import list_arrays, rebuild_state

    state, winds = rebuild_state(planet, position.arrays), [position.winds]
    end = min(position.day + (1 if start.is_tiny else _SAVE_EVERY), start.days_of(position.year))
    for day in range(position.day, end):
        date = dt.date(position.year, 1, 1) + dt.timedelta(day)
        state, winds_of_day = planet.simulate_day(state, date)
        if position.year >= start.first_year:
            winds.append(_pack(winds_of_day, date))
    return Position(position.year, end, np.concatenate(winds, axis=1), list_arrays(state))


def _no_winds(surface: Surface) -> NDArray[np.int16]:
    return np.empty((2, 0, *surface.orography.shape), np.int16)


def _pack(winds: "Winds", date: dt.date) -> NDArray[np.int16]:
    """Return u and v in steps of `PACKING`."""
    values = np.stack(winds)
    if not np.isfinite(values).all():
        raise SimulationError(f"The simulated wind of {date} is not finite.")
    return np.round(values.astype(np.float64) / PACKING).astype(np.int16)
