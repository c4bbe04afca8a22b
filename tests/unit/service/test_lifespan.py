import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import inspect

from jobs.dispatching.dispatch import CeleryDispatcher, LocalDispatcher
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Data, Status
from jobs.settings import Settings
from service import lifespan
from service.app import create_app
from service.dependencies import Service
from service.lifespan import open_service
from service.metrics import Metrics
from storage.errors import ConfigurationError, DataDirectoryError
from storage.lock import lock_folder
from tests.clock import MovableClock
from tests.helpers import wait_until
from tests.in_process import run_in_process
from tests.rows import read_forecast, succeed
from tests.servers import free_port

Submit = Callable[..., ForecastRecord]


@contextmanager
def _opened(
    settings: Settings, *, with_worker: bool = False, metrics_port: int | None = None, metrics: Metrics | None = None
) -> Iterator[Service]:
    with ExitStack() as stack:
        yield open_service(
            settings,
            metrics or Metrics(),
            stack,
            only_loopback=True,
            with_worker=with_worker,
            metrics_port=metrics_port,
        )


def _threads() -> set[str]:
    """Return the names of the service's threads that run now."""
    return {thread.name for thread in threading.enumerate()} & {"reconcile", "retention", "supervisor"}


def _children() -> set[str]:
    """Return the process ids of the children of this process."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def _is_locked(folder: Path) -> bool:
    try:
        with lock_folder(folder, DataDirectoryError("in use")):
            return False
    except DataDirectoryError:
        return True


def test_a_new_data_folder_is_created_with_its_database(tmp_path: Path) -> None:
    settings = Settings.of(data=tmp_path / "new" / "data")
    with _opened(settings) as service, service.database.read() as connection:
        assert {"forecast", "work", "event", "worker", "api_key"} <= set(inspect(connection).get_table_names())
    assert (tmp_path / "new" / "data" / "warmcast.db").exists()


def test_closing_ends_every_thread_and_unregisters_the_metrics(settings: Settings) -> None:
    metrics = Metrics()
    with _opened(settings, metrics=metrics):
        assert _threads() == {"reconcile", "retention"}
        assert metrics.registry.get_sample_value("warmcast_database_up") == 1
    assert _threads() == set()
    assert metrics.registry.get_sample_value("warmcast_database_up") is None


def test_one_application_can_be_started_again(settings: Settings) -> None:
    app = create_app(settings, with_worker=False)
    for _ in range(2):
        with run_in_process(app) as api:
            assert api.get("/v1/forecast").status_code == 200
            assert api.get("/metrics").text.count("\nwarmcast_database_up 1.0\n") == 1


def test_only_one_service_with_a_worker_has_a_data_folder(settings: Settings, tmp_path: Path) -> None:
    children = _children()
    with _opened(settings, with_worker=True):
        assert _threads() == {"reconcile", "retention", "supervisor"}
        wait_until(lambda: _children() > children)
        with (
            pytest.raises(DataDirectoryError, match=f"`{tmp_path}` is served by another process"),
            _opened(settings, with_worker=True),
        ):
            pass
        with _opened(settings) as api_only, api_only.database.read():
            assert _is_locked(tmp_path)
        assert _is_locked(tmp_path), "an API process without a worker must not release the lock of the service"
    assert (_threads(), _children(), _is_locked(tmp_path)) == (set(), children, False)


def test_celery_workers_need_no_lock_and_no_child_process(settings: Settings, tmp_path: Path) -> None:
    children = _children()
    with _opened(settings.replace(dispatcher="celery"), with_worker=True) as service:
        assert isinstance(service.dispatcher, CeleryDispatcher)
        assert (_is_locked(tmp_path), _children()) == (False, children)
    with _opened(settings) as service:
        assert isinstance(service.dispatcher, LocalDispatcher)


def test_metrics_on_a_port_of_their_own_are_served_until_the_service_closes(settings: Settings) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}/metrics"
    with _opened(settings, metrics_port=port), urllib.request.urlopen(address) as response:
        assert b"\nwarmcast_database_up 1.0\n" in response.read()
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port)):
            pass
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass


def test_metrics_of_keys_are_served_on_a_port_of_their_own_or_not_at_all(settings: Settings) -> None:
    of_keys, port = settings.replace(metrics_keys=5), free_port()
    with pytest.raises(ConfigurationError, match="WARMCAST_METRICS_KEYS needs --metrics-port"), _opened(of_keys):
        pass
    address = f"http://127.0.0.1:{port}/metrics"
    with _opened(of_keys, metrics_port=port), urllib.request.urlopen(address) as response:
        assert b"warmcast_key_kept_bytes" in response.read()


def test_a_client_of_the_metrics_that_sends_nothing_is_cut_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifespan, "_METRICS_SECONDS", 0.1)
    port = free_port()
    with _opened(settings, metrics_port=port), socket.create_connection(("127.0.0.1", port), 10) as client:
        assert client.recv(1) == b""


def test_a_metrics_port_in_use_is_an_error_that_names_it_and_leaves_nothing_open(
    settings: Settings, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=rf"port {port}: Address already in use\. Choose another"),
            _opened(settings, with_worker=True, metrics_port=port),
        ):
            pass
    assert (_threads(), _is_locked(tmp_path)) == (set(), False)


def test_a_database_that_is_not_reached_is_an_error_and_leaves_nothing_open(settings: Settings, tmp_path: Path) -> None:
    url = f"postgresql+pg8000://warmcast@127.0.0.1:{free_port()}/warmcast"
    with (
        pytest.raises(DataDirectoryError, match="The database cannot be used"),
        _opened(settings.replace(database_url=url), with_worker=True),
    ):
        pass
    assert (_threads(), _is_locked(tmp_path)) == (set(), False)


def test_an_overdue_forecast_is_failed_while_the_service_runs(
    settings: Settings, database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    record = submit_forecast(deadline_seconds=100)
    with _opened(settings.replace(reconcile_seconds=0.01)):
        clock.advance(101)
        wait_until(lambda: read_forecast(database, record.id).status == Status.FAILED, 10)
    failed = read_forecast(database, record.id)
    assert failed.error is not None
    assert failed.error["type"] == "deadline-passed"


def test_expired_data_is_removed_while_the_service_runs_and_the_record_stays(
    settings: Settings, database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    record = succeed(database, submit_forecast())
    folder = ForecastFolder(settings.storage.data, record.id).path
    with _opened(settings.replace(reconcile_seconds=0.001, keep_hours=1)):
        assert folder.exists()
        clock.advance(3601)
        wait_until(lambda: not folder.exists(), 10)
        wait_until(lambda: read_forecast(database, record.id).data == Data.EXPIRED, 10)


def test_without_a_limit_data_is_kept(
    settings: Settings, database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    record = succeed(database, submit_forecast())
    clock.advance(1e7)
    with _opened(settings.replace(reconcile_seconds=0.001)):
        overdue = submit_forecast(deadline_seconds=1)
        clock.advance(2)
        wait_until(lambda: read_forecast(database, overdue.id).status == Status.FAILED, 10)
    assert ForecastFolder(settings.storage.data, record.id).store.exists()
    assert read_forecast(database, record.id).data == Data.AVAILABLE
