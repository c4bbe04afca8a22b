import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from storage.scratch import own_temporary_folder, remove_abandoned_folders

HOLDER = """
import sys, tempfile
from contextlib import ExitStack
from pathlib import Path
from storage.scratch import own_temporary_folder
with own_temporary_folder(Path(sys.argv[1])) as folder:
    (Path(tempfile.mkdtemp()) / "upload").write_text("secret")
    print(folder, flush=True)
    sys.stdin.read()
"""


def _start(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    """Start a process with temporary files in a folder of its own; return it and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def _make_deep(folder: Path) -> None:
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deeper", dir_fd=descriptor)
        below = os.open("deeper", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_temporary_files_are_in_a_folder_of_the_process_which_is_removed(tmp_path: Path) -> None:
    before = tempfile.gettempdir()
    with own_temporary_folder(tmp_path / "uploads") as folder:
        with tempfile.TemporaryDirectory() as inner:
            assert Path(inner).parent == folder
        assert Path(tempfile.mkdtemp()).parent == folder
        assert folder.stat().st_mode & 0o777 == 0o700
    assert tempfile.gettempdir() == before
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_and_never_what_a_live_one_uses(tmp_path: Path) -> None:
    live, used = _start(tmp_path)
    killed, left = _start(tmp_path)
    killed.kill()
    killed.communicate()
    assert list(left.rglob("upload"))
    with own_temporary_folder(tmp_path) as folder:
        assert not left.exists()
        assert remove_abandoned_folders(tmp_path) == 0
        assert folder.exists()
        assert list(used.rglob("upload"))
    _make_deep(tmp_path / "0123")  # without a lock; no path is as long
    assert remove_abandoned_folders(tmp_path) == 1
    live.kill()
    live.communicate()
    assert remove_abandoned_folders(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_missing_folder_holds_nothing_to_remove(tmp_path: Path) -> None:
    assert remove_abandoned_folders(tmp_path / "absent") == 0


def test_blocks_that_end_in_another_order_leave_no_removed_folder_for_temporary_files(tmp_path: Path) -> None:
    before = tempfile.tempdir
    with ExitStack() as outer, ExitStack() as inner:
        outer.enter_context(own_temporary_folder(tmp_path / "a"))
        inner.enter_context(own_temporary_folder(tmp_path / "b"))
        outer.close()
        inner.close()
        assert Path(tempfile.gettempdir()).is_dir()
        tempfile.tempdir = before
