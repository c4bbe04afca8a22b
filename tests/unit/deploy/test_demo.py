import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[3] / "deploy/demo.sh"

WARMCAST = """#!/bin/sh
case "$1" in
  serve) trap 'exit 0' TERM; touch "$FOLDER/started"; while :; do sleep 0.05; done ;;
  list) test -e "$FOLDER/started" ;;
  submit) echo '{"id": "fc-1"}' ;;
  plot) echo "$2/maps.png"; echo "$2/plume.png" ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a script `warmcast` that computes nothing, and `python`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "warmcast").write_text(WARMCAST)
    (folder / "warmcast").chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    return folder


def _run_demo(programs: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    command = ["sh", str(DEMO), str(programs), str(folder), "8123"]
    environment = os.environ | {"FOLDER": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_demo_ends_with_its_pictures_and_commands_that_work_without_its_service(
    programs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    ended = _run_demo(programs, folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "",
        "Pictures:",
        f"{folder}/forecasts/fc-1/maps.png",
        f"{folder}/forecasts/fc-1/plume.png",
        "",
        f'Read the ensemble in Python:  xarray.open_zarr("{folder}/forecasts/fc-1/ensemble.zarr")',
        f"Start the service again:      {programs}/warmcast serve --port 8123 --data {folder}",
        "then see it on a map:         http://127.0.0.1:8123/view/fc-1",
    ]


def test_a_service_that_a_signal_ends_is_not_reported_as_an_error(programs: Path, tmp_path: Path) -> None:
    """The shell reports a process that ends while it is waited for, so this one closes before the signal ends it."""
    closing = "trap 'sleep 0.2; trap - TERM; kill $$' TERM"
    (programs / "warmcast").write_text(WARMCAST.replace("trap 'exit 0' TERM", closing))
    ended = _run_demo(programs, tmp_path / "demo")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_demo_does_not_use_another_service_on_its_port(programs: Path, tmp_path: Path) -> None:
    (programs / "warmcast").write_text(WARMCAST.replace('test -e "$FOLDER/started"', "exit 0"))
    ended = _run_demo(programs, tmp_path / "demo")
    assert ended.returncode == 1
    assert "did not start on port 8123" in ended.stderr


def test_a_service_that_does_not_start_is_reported_with_its_port(programs: Path, tmp_path: Path) -> None:
    (programs / "warmcast").write_text('#!/bin/sh\ntest "$1" = serve && exit 2\nexit 1\n')
    ended = _run_demo(programs, tmp_path / "demo")
    assert ended.returncode == 1
    assert "did not start on port 8123" in ended.stderr
