import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.errors import DataDirectoryError
from storage.lock import claim_output, lock_file, lock_folder


def test_a_folder_is_locked_by_one_holder_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new/folder"
    with (
        lock_folder(folder, DataDirectoryError("first")),
        pytest.raises(DataDirectoryError, match="second"),
        lock_folder(folder, DataDirectoryError("second")),
    ):
        pass
    with lock_folder(folder, DataDirectoryError("third")):
        pass


def test_an_output_is_claimed_by_one_holder_at_a_time(tmp_path: Path) -> None:
    output = tmp_path / "new/scores.json"
    with claim_output(output, DataDirectoryError("first")):
        with claim_output(tmp_path / "new/other.json", DataDirectoryError("of another file")):
            pass
        with pytest.raises(DataDirectoryError, match="second"), claim_output(output, DataDirectoryError("second")):
            pass
    with claim_output(output, DataDirectoryError("third")):
        assert not output.exists()


def test_a_killed_holder_holds_no_lock(tmp_path: Path) -> None:
    program = (
        "import os, pathlib\n"
        "from storage.errors import DataDirectoryError\n"
        "from storage.lock import lock_folder\n"
        f"with lock_folder(pathlib.Path({str(tmp_path)!r}), DataDirectoryError()):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with lock_folder(tmp_path, DataDirectoryError("the killed process still holds it")):
        pass


def test_a_file_is_locked_by_one_thread_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    began = threading.Event()

    def wait() -> None:
        began.set()
        with lock_file(tmp_path / "lock"):
            order.append("second")

    second = threading.Thread(target=wait)
    with lock_file(tmp_path / "lock"):
        second.start()
        began.wait(10)
        second.join(0.1)
        assert second.is_alive()
        order.append("first")
    second.join(10)
    assert order == ["first", "second"]


def test_a_lock_in_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), lock_file(tmp_path / "missing/lock"):
        pass
