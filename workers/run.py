"""Carry out `warmcast worker`: keep the processes of a worker running until it is stopped."""

import signal
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from jobs.dispatching.supervisor import Supervisor
from jobs.installation import open_installation
from jobs.logs import configure_logging
from jobs.settings import Settings
from workers.notices import NoticeChannel

_STOPS = (signal.SIGTERM, signal.SIGINT)


def run_worker(*, data: Path | None) -> NoReturn:
    """Run a worker until it is stopped; `data` replaces the data folder of the settings.

    One process computes. With Celery another one receives notices, for which the first does not depend on Redis: it
    also polls the database. Both are started again when they end. On SIGTERM the work is released.
    """
    settings = Settings.read()
    if data is not None:
        settings = settings.replace(data=data)
    configure_logging(settings.log.log_format, settings.log.log_level)
    open_installation(settings.storage).database.close()
    for number in _STOPS:
        signal.signal(number, _stop)
    with ExitStack() as stack:
        if settings.service.dispatcher == "celery":
            channel = NoticeChannel.open()
            stack.enter_context(Supervisor(settings, arguments=channel.arguments, descriptors=channel.descriptors))
            stack.enter_context(
                Supervisor(
                    settings,
                    module="workers.listener",
                    name="The receiver of notices",
                    arguments=channel.arguments,
                    descriptors=channel.descriptors,
                    stop_signal=signal.SIGKILL,
                )
            )
        else:
            stack.enter_context(Supervisor(settings))
        while True:
            signal.pause()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)
