"""The command `warmcast nature-run`."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from storage.lock import lock_folder
from training.nature.files import year_path
from training.nature.states import NatureRun, SimulationError, StartState, keep_settings, list_versions
from training.nature.years import count_days_done, simulate_years


def make_nature_run(
    *,
    output: Path,
    years: int,
    start_states: int,
    first_year: int,
    seed: int,
    processes: int,
    tiny: bool,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Simulate the years that are missing in `output`, a file for each, and return their paths.

    `report` receives lines of progress. Raises `ConfigurationError` if another process writes to the folder or if it
    has other settings, and `SimulationError` if the simulation fails or a process ends.
    """
    run = NatureRun(years, start_states, first_year, seed, tiny)
    in_use = ConfigurationError(f"Another process writes to `{output}`. Wait for it, or choose another --output.")
    with lock_folder(output, in_use):
        keep_settings(output, run, list_versions())
        starts = list(run.list_start_states())
        done = {start: count_days_done(output, start) for start in starts}
        waiting = [start for start in starts if done[start] < start.num_days]
        progress = Progress(sum(done.values()), sum(start.num_days for start in starts), report)
        if waiting:
            _simulate(output, waiting, min(processes, len(waiting)), progress)
    files = [year_path(output, year) for start in starts for year in start.calendar[1:]]
    return {"output": str(output), "files": [str(file) for file in files]}


class Progress:
    """Turns numbers of simulated days into lines with the speed and the time that is left."""

    def __init__(self, done: int, total: int, report: Callable[[str], None]) -> None:
        self._done, self._total, self._report = done, total, report
        self._first: tuple[int, float] | None = None

    def add(self, days: int) -> None:
        """Count simulated days and report them; the first are not timed, since they include the compilation."""
        self._done += days
        now = time.monotonic()
        line = f"{self._done}/{self._total} simulated days"
        if self._first is None:
            self._first = self._done, now
        elif now > self._first[1]:
            speed = (self._done - self._first[0]) / (now - self._first[1])
            seconds = round((self._total - self._done) / speed)
            line += f"  {60 * speed:.0f} a minute  "
            line += f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
        self._report(line)


def _simulate(folder: Path, starts: Sequence[StartState], processes: int, progress: Progress) -> None:
    """Simulate start states in processes of their own, which end when this function or this process does."""
    context = multiprocessing.get_context("spawn")
    days: SimpleQueue[int] = context.SimpleQueue()
    ended, end = context.Pipe(duplex=False)
    with ProcessPoolExecutor(processes, context, _prepare_process, (days, ended)) as pool:
        try:
            pending = {pool.submit(_simulate_in_process, folder, start) for start in starts}
            while pending:
                finished, pending = wait(pending, timeout=0.5, return_when="FIRST_COMPLETED")
                while not days.empty():
                    progress.add(days.get())
                for future in finished:
                    future.result()
        except BaseException as error:
            end.close()
            if isinstance(error, BrokenProcessPool):
                raise SimulationError(
                    "A process of the simulation was killed, perhaps for lack of memory: each needs 1.5 GB. To "
                    "continue, repeat the command, with fewer --processes."
                ) from error
            raise


_days: "SimpleQueue[int]"


def _prepare_process(days: "SimpleQueue[int]", ended: Connection) -> None:
    """Prepare a process that simulates: it reports to `days`, and ends when the other end of `ended` is closed.

    The operating system closes it if the parent is killed. An interrupt, which the whole group receives, is the
    parent's.
    """
    global _days
    _days = days
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end() -> None:
        ended.poll(None)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _simulate_in_process(folder: Path, start: StartState) -> None:
    simulate_years(folder, start, _days.put)
