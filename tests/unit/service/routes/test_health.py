import os
from pathlib import Path

import pytest
from sqlalchemy import text

from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from tests.clock import MovableClock
from tests.in_process import InProcess
from tests.rows import create_key, record_heartbeat


def _readiness(api: InProcess) -> tuple[int, dict[str, bool]]:
    response = api.get("/readyz")
    health = response.json()
    assert health["ready"] == all(health["checks"].values())
    return response.status_code, health["checks"]


def test_the_service_is_ready_while_a_worker_is_alive(api: InProcess, database: Database, clock: MovableClock) -> None:
    assert _readiness(api) == (503, {"database": True, "data": True, "worker": False})
    record_heartbeat(database, "worker", "cpu", {})
    assert _readiness(api) == (200, {"database": True, "data": True, "worker": True})
    clock.advance(31)
    assert _readiness(api) == (503, {"database": True, "data": True, "worker": False})


def test_a_database_that_fails_makes_the_service_alive_but_not_ready(api: InProcess, database: Database) -> None:
    record_heartbeat(database, "worker", "cpu", {})
    with database.write() as connection:
        connection.execute(text("ALTER TABLE worker RENAME TO away"))
    assert _readiness(api) == (503, {"database": False, "data": True, "worker": False})
    assert (api.get("/healthz").status_code, api.get("/healthz").json()) == (200, {"status": "alive"})


def test_a_data_folder_that_cannot_be_written_makes_the_service_not_ready(
    api: InProcess, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record_heartbeat(database, "worker", "cpu", {})
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path, os.W_OK))
    assert _readiness(api) == (503, {"database": True, "data": False, "worker": True})


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
