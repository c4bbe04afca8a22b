"""The process of a worker that computes: `python -m workers.polling PARENT [CHANNEL…]`, started by a supervisor."""

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from jobs.dispatching.sharing import may_receive_groups
from jobs.installation import open_installation
from jobs.logs import configure_logging
from jobs.rows.database import Database
from jobs.settings import Settings
from storage.errors import InstallationError, WarmcastError
from workers.device import count_lanes
from workers.lanes import Lanes
from workers.loop import Worker
from workers.notices import Alarm, NoticeChannel
from workers.parent import end_with_parent
from workers.room import Room

_STOPS = (signal.SIGTERM, signal.SIGINT)
_STOP_SHARE = 0.5
"""Share of `stop_seconds` after which a worker gives up the lead time that it computes."""

_log = logging.getLogger(__name__)


def poll(settings: Settings, channel: NoticeChannel | None = None) -> None:
    """Do the work in the database until SIGTERM or SIGINT: then finish a group's lead time, and release the rest.

    Without work the database is polled every `poll_seconds`; with a channel every `reconcile_seconds`, at each notice,
    and more often while a busy worker may release groups.
    """
    configure_logging(settings.log.log_format, settings.log.log_level)
    database = open_installation(settings.storage).database
    room, alarm = Room(), Alarm()
    worker = Worker(settings, database, room)
    lanes = range(1, settings.worker.forecasts_at_once or count_lanes(worker.device))
    further = [Worker(settings, database, room, lane) for lane in lanes]
    _stop_on_signals([worker, *further], alarm, settings.worker.stop_seconds * _STOP_SHARE)
    with Lanes(further, settings.worker.poll_seconds):
        while not worker.is_stopping:
            try:
                with channel.busy() if channel is not None else nullcontext():
                    while worker.run():
                        pass
                seconds = _pause_seconds(settings, database, worker, channel)
            except (SQLAlchemyError, OSError, InstallationError) as error:
                _log.warning("The database cannot be used: %s", error)
                seconds = settings.worker.poll_seconds
            if not worker.is_stopping:
                alarm.wait(seconds, channel)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _pause_seconds(settings: Settings, database: Database, worker: Worker, channel: NoticeChannel | None) -> float:
    if channel is None:
        return settings.worker.poll_seconds
    with database.read() as connection:
        is_soon = may_receive_groups(connection, worker.name)
    return settings.worker.poll_seconds if is_soon else settings.service.reconcile_seconds


def _stop_on_signals(workers: Sequence[Worker], alarm: Alarm, seconds: float) -> None:
    """Stop all workers at the next signal; if one has not stopped some seconds later, raise `SystemExit` in it."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        for worker in workers:
            worker.stop()
        alarm.set()
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        for worker in workers:
            worker.give_up()
        raise SystemExit(0)

    signal.signal(signal.SIGALRM, give_up)
    for number in _STOPS:
        signal.signal(number, stop)


@contextmanager
def end_in_one_sentence() -> Iterator[None]:
    """Log an error of Warmcast as one sentence, and end the process with its exit code, as the command line does."""
    try:
        yield
    except WarmcastError as error:
        _log.critical("%s", error)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    with end_in_one_sentence():
        poll(Settings.read(), NoticeChannel.parse(sys.argv[2:]) if sys.argv[2:] else None)
