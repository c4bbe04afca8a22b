"""What importing loads, and that the client needs none of Warmcast's other packages."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

NAMES = ("benchmarks", "diagnostics", "jobs", "models", "service", "storage", "training", "weather", "workers")
REMOTE = (
    "submit --initial-state gfs",
    "replay fc_1 --member 0",
    "status fc_1",
    "watch fc_1",
    "list",
    "cancel fc_1",
    "download fc_1 --output e.zip",
)


@pytest.mark.smoke
def test_all_but_the_workers_load_no_torch() -> None:
    modules = (
        "warmcast",
        "warmcast.cli",
        "weather.initial_state",
        "weather.stores.ensemble",
        "weather.manifest",
        "diagnostics.figures.plot",
        "service.app",
        "jobs.dispatching.supervisor",
    )
    code = "".join(f"import {module}, sys\nassert 'torch' not in sys.modules, '{module}'\n" for module in modules)
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("code", "unloaded"),
    [
        ("import warmcast", ("httpx", "xarray", "zarr", "numpy", "typer")),
        ("from warmcast import Client, AsyncClient, ClientError", ("xarray", "zarr", "numpy", "pandas", "typer")),
        ("import warmcast.cli, warmcast.remote", ("xarray", "zarr", "numpy", "pandas")),
    ],
)
def test_the_client_and_the_command_line_load_nothing_heavy(code: str, unloaded: tuple[str, ...]) -> None:
    check = f"{code}\nimport sys\nsys.exit(str([name for name in {(*unloaded, *NAMES)} if name in sys.modules] or ''))"
    ended = subprocess.run([sys.executable, "-c", check], check=False, capture_output=True, text=True)
    assert ended.stderr.strip() == ""


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A folder of a user with modules of their own that have the names of Warmcast's packages."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise AssertionError('{name} was imported')\n")
    return tmp_path


class _Refusing(BaseHTTPRequestHandler):
    """Refuses every request with a problem document."""

    def _refuse(self) -> None:
        content = b'{"type": "/problems/refused", "detail": "This service refuses everything."}'
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(422)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._refuse()

    def do_POST(self) -> None:
        self._refuse()

    def do_DELETE(self) -> None:
        self._refuse()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def refusing_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def _run(folder: Path, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "WARMCAST_URL": url}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.smoke
def test_a_script_next_to_modules_of_the_users_own_has_the_clients(own_folder: Path) -> None:
    script = own_folder / "script.py"
    script.write_text("from warmcast import AsyncClient, Client\nprint(Client('http://a'), AsyncClient('http://b'))\n")
    ended = _run(own_folder, "script.py")
    assert ended.stdout == "<Client of http://a> <AsyncClient of http://b>\n", ended.stderr


@pytest.mark.smoke
@pytest.mark.parametrize("command", REMOTE)
def test_remote_commands_work_next_to_modules_of_the_users_own(
    command: str, own_folder: Path, refusing_url: str
) -> None:
    ended = _run(own_folder, "-m", "warmcast", *command.split(), url=refusing_url)
    assert (ended.returncode, ended.stderr) == (2, "Error: This service refuses everything.\n")


@pytest.mark.smoke
def test_local_commands_name_the_module_that_shadows_a_package(own_folder: Path) -> None:
    ended = _run(own_folder, "-m", "warmcast", "serve")
    assert ended.returncode == 2
    assert f"was found in `{own_folder}/service.py`, which is not Warmcast's" in ended.stderr
    assert _run(own_folder, "-m", "warmcast", "--help").returncode == 0


@pytest.mark.smoke
@pytest.mark.parametrize("command", ["forecast --initial-state sample --output out", "plot out"])
def test_local_commands_name_the_module_that_shadows_a_package_of_another_layer(command: str, tmp_path: Path) -> None:
    (tmp_path / "weather.py").write_text("raise AssertionError('weather was imported')\n")
    ended = _run(tmp_path, "-m", "warmcast", *command.split())
    assert ended.returncode == 2
    assert f"found in `{tmp_path}/weather.py`, which is not Warmcast's. Run the command in another" in ended.stderr
