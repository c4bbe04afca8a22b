import asyncio
import os
import pickle
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import Request

from service.child_processes import run_in_child, while_connected
from service.problems import NOT_FOUND, ServiceError
from storage import errors as storage_errors
from storage.errors import ConfigurationError, WarmcastError
from tests.helpers import wait_until
from tests.unit.service import work
from weather import errors as weather_errors
from weather.errors import InitialStateError, InputCorruptError, ParserCrashedError

T = TypeVar("T")


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """An event loop for all tests, which therefore share a child process."""
    with start_blocking_portal() as portal:
        yield portal


def test_work_runs_in_one_process_of_low_priority_with_its_own_folder(portal: BlockingPortal, tmp_path: Path) -> None:
    async def run() -> list[tuple[int, int, str]]:
        return [await run_in_child(work.describe, 30, folder) for folder in (tmp_path, None)]

    (first, second) = portal.call(run)
    assert first[0] == second[0] != os.getpid()
    assert first[1] == second[1] > os.getpriority(os.PRIO_PROCESS, 0)
    assert (first[2], second[2]) == (str(tmp_path), tempfile.gettempdir())


@pytest.mark.parametrize(
    "error",
    [InputCorruptError("`a.nc`", ["Its end is missing."]), ConfigurationError("No.", ("bbox", 1)), ValueError(1)],
)
def test_an_error_of_the_work_is_that_of_the_caller(portal: BlockingPortal, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        portal.call(run_in_child, partial(work.fail, error), 30)
    assert (str(raised.value), vars(raised.value)) == (str(error), vars(error))


def test_the_notes_of_an_error_are_logged_and_are_not_in_its_message(
    portal: BlockingPortal, caplog: pytest.LogCaptureFixture
) -> None:
    error = ParserCrashedError("`a.nc`", ["The parser ended with code 1."])
    error.add_note("No such file: 0-input")
    with pytest.raises(ParserCrashedError) as raised:
        portal.call(run_in_child, partial(work.fail, error), 30)
    assert "No such file: 0-input" in caplog.text
    assert "0-input" not in str(raised.value)


def test_work_that_prints_more_than_a_pipe_holds_ends(portal: BlockingPortal) -> None:
    portal.call(run_in_child, partial(work.print_errors, 1_000_000), 30)


def _subclasses(kind: type[WarmcastError]) -> list[type[WarmcastError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _subclasses(child))]


def test_every_error_of_reading_files_and_stores_can_be_sent_to_another_process() -> None:
    domain = (storage_errors.__name__, weather_errors.__name__)
    kinds = [kind for kind in _subclasses(WarmcastError) if kind.__module__ in domain]
    assert len(kinds) > 12
    for kind in kinds:
        error = _build(kind, (["It is empty."] if issubclass(kind, InitialStateError) else "It is empty."))
        error.location = ("body", "files", 1)
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))


def _build(kind: Callable[..., WarmcastError], last: str | list[str]) -> WarmcastError:
    """Return an error made from its required arguments, of which `last` is the last, or else from its message."""
    required = [name for name, argument in signature(kind).parameters.items() if argument.default is argument.empty]
    return kind(*required[:-1], last)


def test_a_process_that_dies_is_a_temporary_problem_and_is_replaced(portal: BlockingPortal) -> None:
    async def run() -> int:
        with pytest.raises(ServiceError) as raised:
            await run_in_child(work.die, 30)
        assert (raised.value.kind.slug, raised.value.kind.retry_after) == ("unavailable", 5)
        return (await run_in_child(work.describe, 30))[0]

    assert portal.call(run) != os.getpid()


def test_work_that_takes_too_long_is_killed(portal: BlockingPortal, tmp_path: Path) -> None:
    async def run() -> None:
        await run_in_child(work.describe, 30)
        with pytest.raises(ServiceError) as raised:
            await run_in_child(partial(work.record_and_sleep, tmp_path / "pid"), 0.5)
        assert (raised.value.kind.slug, raised.value.kind.retry_after) == ("too-slow", None)
        wait_until(lambda: not _is_alive(tmp_path / "pid"))

    portal.call(run)


def test_work_is_killed_when_its_client_leaves(portal: BlockingPortal, tmp_path: Path) -> None:
    async def run() -> None:
        has_left = asyncio.Event()

        async def leave() -> None:
            while not (tmp_path / "pid").exists():
                await asyncio.sleep(0.01)
            has_left.set()

        leaving = asyncio.ensure_future(leave())
        with pytest.raises(ServiceError) as raised:
            await while_connected(
                _request(has_left), run_in_child(partial(work.record_and_sleep, tmp_path / "pid"), 30)
            )
        await leaving
        assert raised.value.kind.slug == "client-left"
        assert not _is_alive(tmp_path / "pid")

    portal.call(run)


def test_work_of_a_client_that_stays_ends_with_its_result_or_its_error(portal: BlockingPortal) -> None:
    async def returns() -> int:
        return 7

    async def fails() -> int:
        raise ServiceError(NOT_FOUND, "No.")

    async def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await while_connected(_request(asyncio.Event()), work())

    assert portal.call(run, returns) == 7
    with pytest.raises(ServiceError, match="No"):
        portal.call(run, fails)


def _request(has_left: asyncio.Event) -> Request:
    """Return the request of a client that has sent its body and leaves when the event is set."""

    async def receive() -> dict[str, str]:
        await has_left.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "headers": []}, receive)


def _is_alive(path: Path) -> bool:
    try:
        return "Z" not in Path(f"/proc/{path.read_text()}/stat").read_text().rsplit(")")[-1].split()[0]
    except FileNotFoundError:
        return False
