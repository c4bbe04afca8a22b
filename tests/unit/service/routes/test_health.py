import os
import threading
import time
from pathlib import Path

import pytest
from anyio import to_thread
from sqlalchemy import text

from jobs.rows.database import Database
from jobs.settings import Settings
from service import readiness
from service.app import create_app
from tests.clock import MovableClock
from tests.in_process import InProcess
from tests.rows import create_key, record_heartbeat
from weather.ingest.sandbox import find_missing_protections


@pytest.fixture(autouse=True)
def _results_are_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "KEEP_SECONDS", 0.0)


def _failing(api: InProcess) -> tuple[int, set[str]]:
    """Return the status of `/readyz` and the names of the checks that fail, each of which has a detail."""
    response = api.get("/readyz")
    health = response.json()
    failing = {name for name, passes in health["checks"].items() if not passes}
    assert health["checks"].keys() >= {"database", "data", "worker"}
    assert (health["ready"], health["details"].keys()) == (not failing, failing)
    return response.status_code, failing


def test_the_service_is_ready_while_a_worker_is_alive(api: InProcess, database: Database, clock: MovableClock) -> None:
    assert _failing(api) == (503, {"worker"})
    assert "`warmcast worker`" in api.get("/readyz").json()["details"]["worker"]
    record_heartbeat(database, "worker", "cpu", {})
    assert _failing(api) == (200, set())
    clock.advance(31)
    assert _failing(api) == (503, {"worker"})


def test_a_database_that_fails_makes_the_service_alive_but_not_ready(api: InProcess, database: Database) -> None:
    record_heartbeat(database, "worker", "cpu", {})
    with database.write() as connection:
        connection.execute(text("ALTER TABLE worker RENAME TO away"))
    assert _failing(api) == (503, {"worker"})
    assert "server runs" in api.get("/readyz").json()["details"]["worker"]
    assert (api.get("/healthz").status_code, api.get("/healthz").json()) == (200, {"status": "alive"})


def test_a_data_folder_that_cannot_be_written_makes_the_service_not_ready(
    api: InProcess, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record_heartbeat(database, "worker", "cpu", {})
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path, os.W_OK))
    assert _failing(api) == (503, {"data"})
    assert str(tmp_path) not in api.get("/readyz").text, "the response has no path of the server"


def test_readiness_is_answered_while_a_check_hangs_and_the_metric_has_the_same_results(
    api: InProcess, database: Database
) -> None:
    record_heartbeat(database, "worker", "cpu", {})
    released = threading.Event()
    api.app.state.service.readiness.add("slow", lambda: str(released.wait(30)))
    began = time.monotonic()
    assert _failing(api) == (503, {"slow"})
    assert time.monotonic() - began < 5
    assert api.get("/healthz").status_code == 200
    metrics = api.get("/metrics").text
    assert 'warmcast_ready{check="slow"} 0.0' in metrics
    assert 'warmcast_ready{check="database"} 1.0' in metrics
    released.set()


def test_a_kernel_without_protections_is_a_warning_and_no_failure(
    api: InProcess, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_heartbeat(database, "worker", "cpu", {})
    assert api.get("/readyz").json()["warnings"] == find_missing_protections()
    monkeypatch.setattr("weather.ingest.sandbox.landlock_version", lambda: 0)
    assert _failing(api) == (200, set())
    assert "The kernel offers no Landlock" in api.get("/readyz").json()["warnings"][0]


def test_health_needs_no_thread_of_the_routes(api: InProcess) -> None:
    released = threading.Event()
    portal = api._portal
    waiting = [portal.start_task_soon(to_thread.run_sync, released.wait, 30) for _ in range(50)]
    assert api.get("/healthz").status_code == 200
    assert api.get("/readyz").status_code == 503
    released.set()
    assert all(future.result(30) for future in waiting)


def test_health_is_answered_without_a_key(api: InProcess, database: Database) -> None:
    create_key(database, "desk")
    assert api.get("/v1/models").status_code == 401
    assert [api.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200, 503, 200]


@pytest.mark.parametrize(
    ("only_loopback", "metrics_port", "is_route"), [(True, None, True), (False, None, False), (True, 9100, False)]
)
def test_metrics_are_a_route_only_on_loopback_and_without_a_port_of_their_own(
    settings: Settings, only_loopback: bool, metrics_port: int | None, is_route: bool
) -> None:
    app = create_app(settings, only_loopback=only_loopback, with_worker=False, metrics_port=metrics_port)
    assert ("/metrics" in app.openapi()["paths"]) == is_route


def test_metrics_are_served_in_the_text_format_of_prometheus(api: InProcess) -> None:
    response = api.get("/metrics")
    assert (response.status_code, response.headers["content-type"][:19]) == (200, "text/plain; version")
    assert "\nwarmcast_database_up 1.0\n" in response.text


def test_health_routes_have_no_version_in_their_path(api: InProcess) -> None:
    assert [api.get(f"/v1{path}").status_code for path in ("/healthz", "/readyz", "/metrics")] == [404] * 3
