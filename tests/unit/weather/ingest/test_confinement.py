import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import weather
from storage.errors import is_disk_full
from tests.inputs import state, state_spec, write_netcdf
from weather.errors import InputTooLargeError, ParserCrashedError, ParserTimeoutError
from weather.ingest import process, sandbox
from weather.ingest.landlock import landlock_version
from weather.ingest.parent import ingest_initial_state
from weather.ingest.process import Limits, private_folder, run_parser

PARSER = "from weather.ingest.child import main; main()"
ATTACKS = Path(__file__).with_name("attacks.py").read_text()
READ = "import json; request = json.load(sys.stdin)\n"
BEGIN = READ + "from weather.ingest.child import begin; begin(request)\n"
CONFINE = (
    READ + "from pathlib import Path; from weather.ingest.sandbox import confine\n"
    "confine([], Path.cwd(), *(request[key] for key in ('memory_bytes', 'cpu_seconds', 'output_bytes')))\n"
)


needs_protections = pytest.mark.skipif(
    bool(sandbox.find_missing_protections()) or landlock_version() < 3, reason="the kernel lacks Landlock or seccomp"
)


def _run(
    code: str, task: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, begin: str, **limits: Any
) -> dict[str, Any]:
    """Return the reply of the real parser whose work is replaced by code, after it has confined itself."""
    monkeypatch.setattr(process, "_START", process._START.replace(PARSER, begin + code))
    (folder / "input").write_bytes(b"content")
    request = {"files": [str(folder / "input")], "names": ["input"], "task": {"input": str(folder / "input"), **task}}
    return run_parser(request, folder, Limits(**limits), "`input`")


FOLDERS = ("/", "/etc", "/tmp", "/home", "/root", "/proc", "/dev", "/dev/shm", "/var", "/sys", str(Path.home()))
FILES = (
    "/etc/passwd",
    "/etc/shadow",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc/version",
    "/proc/1/environ",
    "/dev/zero",
)


def _sources() -> list[str]:
    """Return files of the source tree around the packages, if the tests run in one."""
    tree = Path(weather.__file__).parents[1]
    is_tree = (tree / "pyproject.toml").exists()
    return [str(tree / name) for name in ("pyproject.toml", "jobs/settings.py", ".git/config")] if is_tree else []


@pytest.fixture
def folder() -> Iterator[Path]:
    with private_folder() as path:
        yield path


@needs_protections
def test_inside_the_parser_every_foreign_file_socket_and_process_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMCAST_DATABASE_URL", "postgresql://warmcast:secret@database/warmcast")
    monkeypatch.setenv("LD_PRELOAD_NOTE", "x")
    (tmp_path / "secret").write_text("password")
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        short = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        unix.bind(str(short / "stream"))
        unix.listen()
        unix_datagrams = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        unix_datagrams.bind(str(short / "datagram"))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        abstract.bind(f"\0warmcast-{os.getpid()}")
        other = stack.enter_context(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        task = {
            "secret": str(tmp_path / "secret"),
            "place": str(folder.parent),
            "other": other.pid,
            "port": listening.getsockname()[1],
            "udp_port": datagrams.getsockname()[1],
            "unix": str(short / "stream"),
            "unix_datagram": str(short / "datagram"),
            "abstract": f"warmcast-{os.getpid()}",
            "foreign_folders": [folder for folder in FOLDERS if Path(folder).exists()],
            "foreign_files": [file for file in (*FILES, *_sources()) if Path(file).exists()],
            "foreign_names": ["WARMCAST_DATABASE_URL", "LD_PRELOAD_NOTE", "PATH", "PYTHONPATH"],
        }
        reply = _run(ATTACKS + "\nmain(request)", task, folder, monkeypatch, BEGIN)
        other.kill()
    assert reply["problems"] == []
    assert int(reply["kind"]) > 100
    assert (tmp_path / "secret").read_text() == "password"


START_THREADS = (
    "import threading, time; threading.stack_size(65536)\n"
    "for i in range(99): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
)
SLEEP = "import time; time.sleep(60)"


@needs_protections
@pytest.mark.parametrize(
    ("code", "limits", "kind", "text"),
    [
        ("while True: pass", {"cpu_seconds": 1}, ParserTimeoutError, "took more than 1 s of CPU time"),
        (SLEEP, {"wall_seconds": 0.5}, ParserTimeoutError, r"took more than 0\.5 s\."),
        ("bytearray(10**9)", {"memory_bytes": 900_000_000}, InputTooLargeError, "more memory than is allowed"),
        (
            f"for i in range(99): open(str(i), 'w').close()\n{SLEEP}",
            {"max_files": 50},
            InputTooLargeError,
            r"writes \d+ files of 0 bytes, and at most 50 of",
        ),
        (
            f"for i in range(30): open(str(i), 'wb').write(bytes(90_000))\n{SLEEP}",
            {"output_bytes": 100_000, "result_bytes": 900_000},
            InputTooLargeError,
            r"writes \d+ files of \d+ bytes, and at most 50000 of 1000000 are accepted",
        ),
        (
            "open('large', 'wb').write(bytes(200_000))",
            {"output_bytes": 100_000},
            ParserCrashedError,
            "ended with code 1",
        ),
        (
            f"{START_THREADS}\n{SLEEP}",
            {},
            InputTooLargeError,
            "starts more than 64 threads",
        ),
        ("import ctypes; ctypes.string_at(0)", {}, ParserCrashedError, "ended with code -11"),
        ("print('x' * 2_000_000)", {}, ParserCrashedError, "ended with code 0"),
        ("print('[' * 100_000)", {}, ParserCrashedError, "ended with code 0"),
        ("print('{\"problems\": 7}')", {}, ParserCrashedError, "ended with code 0"),
    ],
)
def test_a_parser_that_exceeds_a_limit_is_ended_with_an_error_of_its_kind(
    code: str,
    limits: dict[str, Any],
    kind: type[Exception],
    text: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(kind, match=text):
        _run(code, {}, folder, monkeypatch, CONFINE, **limits)


ARRAY = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 10**13)}".ljust(117) + b"\n"
DESCRIPTION = '{"init_time": "2018-09-15", "sources": [], "digest": ""}'


@pytest.mark.parametrize(
    "code",
    [
        "os.symlink('/etc/passwd', 'initial_state.json')",
        "os.link(request['files'][0], 'initial_state.json')",
        "os.mkfifo('initial_state.json')",
        "os.mkdir('initial_state.json')",
        "open('initial_state.npy', 'wb').truncate(10**9)",
        "open('initial_state.json', 'w').write('[' * 100_000)",
        "open('initial_state.json', 'w').write('{}')",
        f"open('initial_state.npy', 'wb').write({ARRAY}); open('initial_state.json', 'w').write('{DESCRIPTION}')",
        "os.rmdir('../result')",
    ],
)
def test_a_result_that_is_not_what_was_requested_is_refused(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even without the kernel's protections, which do not let links be made."""
    write_netcdf(state(), tmp_path / "winds.nc")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    program = f"{READ}import os; os.mkdir('result'); os.chdir('result')\n{code}\nprint('{{}}')"
    monkeypatch.setattr(process, "_START", process._START.replace(PARSER, program))
    with pytest.raises(ParserCrashedError, match="wrote no valid result"):
        ingest_initial_state([tmp_path / "winds.nc"], ["winds.nc"], state_spec(), None)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("depth", [3, 1200])
def test_a_folder_of_any_depth_and_mode_is_removed(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/dev/shm").is_dir():
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")  # folders on disks are removed slowly
    with private_folder() as folder:
        place = os.open(folder, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("deeper", dir_fd=place)
            inner = os.open("deeper", os.O_RDONLY, dir_fd=place)
            os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=inner))
            os.close(place)
            place = inner
        os.fchmod(place, 0)
        os.close(place)
        (folder / "link").symlink_to("/")
    assert not folder.exists()


def test_limits_follow_the_size_of_the_files(tmp_path: Path) -> None:
    for size, seconds in ((10, 8), (10_000_000, 18), (10**9, 60)):
        with (tmp_path / "file").open("wb") as file:
            file.truncate(size)
        limits = Limits.of([tmp_path / "file"], 7)
        assert (limits.cpu_seconds, limits.wall_seconds, limits.result_bytes) == (seconds, 10 * seconds, 7)


def test_files_in_the_working_directory_and_variables_of_the_environment_change_no_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_netcdf(state(), tmp_path / "winds.nc")
    for name in ("numpy", "json", "eccodes", "sitecustomize", "usercustomize", "weather"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a foreign module was imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ECCODES_DEFINITION_PATH", str(tmp_path))
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "missing.so"))
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    ingest_initial_state([tmp_path / "winds.nc"], ["winds.nc"], state_spec(), None)


def test_what_the_kernel_lacks_is_described_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (sandbox.find_missing_protections() == []) == bool(landlock_version() and sandbox.has_seccomp())
    monkeypatch.setattr(sandbox, "landlock_version", lambda: 0)
    monkeypatch.setattr(sandbox, "has_seccomp", lambda: False)
    files, calls = sandbox.find_missing_protections()
    assert files.startswith("The kernel offers no Landlock")
    assert calls.startswith("The kernel offers no seccomp filters")


@needs_protections
def test_a_full_disk_is_an_error_of_the_system_and_not_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import errno; from weather.ingest import child\n"
        "def fill(*_): raise OSError(errno.ENOSPC, 'full')\n"
        "child.carry_out = fill; child.main()"
    )
    with pytest.raises(OSError, match="No space left on device") as caught:
        _run(code, {}, folder, monkeypatch, "")
    assert is_disk_full(caught.value)
