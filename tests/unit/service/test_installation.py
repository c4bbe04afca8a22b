import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.identity_file import IDENTITY_FILE
from jobs.settings import Settings
from service.app import create_app
from storage.errors import InstallationError
from tests.helpers import wait_until
from tests.in_process import InProcess, run_in_process


def _replace_by_copy(data: Path) -> None:
    shutil.copy(data / "warmcast.db", data / "copy")
    (data / "copy").replace(data / "warmcast.db")


AWAY: dict[str, Callable[[Path], object]] = {
    "the database is deleted": lambda data: (data / "warmcast.db").unlink(),
    "the database is moved": lambda data: (data / "warmcast.db").rename(data / "moved.db"),
    "an empty file is in its place": lambda data: (data / "warmcast.db").write_bytes(b""),
    "a copy is in its place": _replace_by_copy,
    "the identity is gone": lambda data: (data / IDENTITY_FILE).unlink(),
    "the folder is gone": lambda data: data.rename(data.parent / "away"),
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.replace(data=tmp_path / "data")


@pytest.mark.parametrize("fault", AWAY)
def test_requests_are_refused_and_readiness_says_why_once_the_installation_is_not_whole(
    fault: str, settings: Settings
) -> None:
    with run_in_process(create_app(settings, with_worker=False)) as api:
        assert api.get("/v1/forecast").status_code == 200
        AWAY[fault](settings.storage.data)
        files = sorted(path.name for path in settings.storage.data.glob("*"))
        for method, path in (("GET", "/v1/forecast"), ("GET", "/v1/forecast/fc_1"), ("GET", "/v1/queue")):
            _check_refused(api, method, path)
        assert api.get("/healthz").status_code == 200
        wait_until(lambda: "restart the service" in _read_fault(api))
        assert str(settings.storage.data) not in _read_fault(api)
        assert "warmcast_database_up 0.0" in api.get("/metrics").text
        assert sorted(path.name for path in settings.storage.data.glob("*")) == files, "no file was made in its place"


def _read_fault(api: InProcess) -> str:
    """Return what is wrong with the installation, or that a busy machine has not found it out yet."""
    return str(api.get("/readyz").json()["details"].get("installation", ""))


def _check_refused(api: InProcess, method: str, path: str) -> None:
    response = api.request(method, path)
    assert response.status_code in (503, 404), response.text
    if path != "/v1/queue":
        assert response.json()["type"] == "/problems/unavailable"
        assert "Traceback" not in response.text


def test_a_service_with_the_wrong_database_does_not_start_and_moves_nothing(settings: Settings) -> None:
    """A mistyped database: its start removed the folders of all forecasts without a word."""
    with run_in_process(create_app(settings, with_worker=False)):
        pass
    folder = settings.storage.data / "forecasts/fc_1"
    folder.mkdir(parents=True)
    os.utime(folder, (1e9, 1e9))
    mistyped = settings.replace(database_url=f"sqlite:///{settings.storage.data}/warmcats.db")
    with (
        pytest.raises(InstallationError, match="does not exist, but"),
        run_in_process(create_app(mistyped, with_worker=False)),
    ):
        pass
    assert folder.exists()


def test_folders_without_a_row_are_counted(settings: Settings) -> None:
    with run_in_process(create_app(settings, with_worker=False)):
        pass
    folder = settings.storage.data / "forecasts/fc_1"
    folder.mkdir(parents=True)
    os.utime(folder, (1e9, 1e9))
    with run_in_process(create_app(settings, with_worker=False)) as api:
        wait_until(lambda: "warmcast_lost_folders 1.0" in api.get("/metrics").text)
    assert (settings.storage.data / "lost/fc_1").is_dir()
