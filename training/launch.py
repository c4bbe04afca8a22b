"""Start the other processes of a training on this machine, as `torchrun` would."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from storage.errors import ConfigurationError, WarmcastError
from training.errors import ProcessEndedError, StoppedError

_END_SECONDS = 60.0
"""Seconds for which the others may take to end after the first, which has written everything by then."""

_log = logging.getLogger(__name__)


@contextmanager
def start_other_processes(count: int, work: Callable[[], object]) -> Iterator[None]:
    """Make this process the first of `count`, and run `work` in each of the others for the duration of the block.

    They end with the block; one that has not ended a minute later is killed. Under `torchrun`, which has started all
    processes, `count` must be 1 or its number, and nothing is started.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if "WORLD_SIZE" in os.environ and count not in (1, started):
        raise ConfigurationError(f"`processes` must be 1 or that of torchrun, {started}. Got: {count}.")
    if count == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    spawn = multiprocessing.get_context("spawn")
    environments = [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    others = [spawn.Process(target=_run, args=(work, own), daemon=True) for own in environments[1:]]
    for other in others:
        other.start()
    try:
        with _environment(environments[0]):
            yield
        for other in others:
            other.join(_END_SECONDS)
            if other.is_alive():
                _log.warning("A process has not ended within %g s of its work, and is killed", _END_SECONDS)
    finally:
        for other in others:
            other.kill()
            other.join()


def _run(work: Callable[[], object], environment: Mapping[str, str]) -> None:
    """Run `work` in another process than the first, which handles interrupts and tells the errors of all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    try:
        work()
    except (ProcessEndedError, StoppedError):
        sys.exit(1)
    except WarmcastError as error:
        sys.exit(f"Process {environment['RANK']}: {error}")


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    earlier = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            os.environ.pop(name)
        os.environ.update(earlier)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
