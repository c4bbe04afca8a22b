import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.reading import make_messages
from tests.helpers import wait_until
from tests.served import Served, small_request


def test_an_upload_whose_client_leaves_is_dropped_with_its_processes_and_files(serve: Callable[..., Served]) -> None:
    served = serve(command="api")
    upload, body = b"".join(make_messages(181, 360, 60)), json.dumps(small_request(initial_state={"source": "upload"}))
    request = served.client.build_request(
        "POST",
        "/v1/forecast?validate_only=true",
        data={"request": body},
        files=[("initial_state", ("a.grib2", upload))],
        headers={"Connection": "close"},
    )
    head = "\r\n".join(f"{name}: {value}" for name, value in request.headers.items())
    with socket.create_connection((request.url.host, request.url.port)) as client:
        client.sendall(f"POST {request.url.raw_path.decode()} HTTP/1.1\r\n{head}\r\n\r\n".encode() + request.read())
        wait_until(lambda: any("weather.ingest.child" in command for command in _commands(served.process.pid)))
        assert _temporary_files(served)
    wait_until(lambda: not any("weather.ingest.child" in command for command in _commands(served.process.pid)))
    wait_until(lambda: not _temporary_files(served), describe=lambda: str(_temporary_files(served)))
    wait_until(lambda: "POST /v1/forecast 499" in (served.data.parent / "serve.log").read_text())


@pytest.mark.campaign
def test_a_plot_is_drawn_by_another_process_when_one_was_killed(serve: Callable[..., Served]) -> None:
    served = serve()
    forecast = served.wait(served.submit()["id"])
    path = f"/v1/forecast/{forecast['id']}/plots/maps.png"
    assert served.client.get(path).status_code == 200
    for process in _descendants(served.process.pid):
        if "anyio.to_process" in _command(process):
            os.kill(process, signal.SIGKILL)
    response = served.client.get(f"{path}?units=kn")
    assert response.status_code in {200, 503}, response.text
    assert served.client.get(f"{path}?units=kn").status_code == 200


def test_no_process_of_a_killed_service_remains(serve: Callable[..., Served]) -> None:
    served = serve()
    forecast = served.wait(served.submit()["id"])
    assert served.client.get(f"/v1/forecast/{forecast['id']}/plots/plume.png").status_code == 200
    processes = _descendants(served.process.pid)
    assert any("anyio.to_process" in _command(process) for process in processes)
    served.kill()
    wait_until(lambda: not any(_command(process) for process in processes))


def _temporary_files(served: Served) -> list[Path]:
    paths = (served.data / "uploads").glob("*/**/*")
    return [path for path in paths if path.name != ".lock"]


def _commands(process: int) -> list[str]:
    return [_command(descendant) for descendant in _descendants(process)]


def _command(process: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _descendants(process: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    return list(_below(process, parents))


def _below(process: int, parents: dict[int, int]) -> Iterator[int]:
    for child, parent in parents.items():
        if parent == process:
            yield child
            yield from _below(child, parents)
