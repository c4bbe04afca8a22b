"""The service while its Redis is down, does not answer, or asks for another password."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.settings import Settings
from service.app import create_app
from tests.helpers import wait_until
from tests.in_process import InProcess, run_in_process
from tests.served import small_request
from tests.servers import RedisServer, SilentServer


@pytest.fixture(params=["down", "black hole", "another password"])
def url(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[str]:
    if request.param == "down":
        redis_server.kill()
    if request.param == "another password":
        redis_server.client().config_set("requirepass", "right")
    if request.param == "black hole":
        with SilentServer() as server:
            yield f"redis://:hunter2@127.0.0.1:{server.port}/0"
    else:
        yield f"redis://:hunter2@127.0.0.1:{redis_server.port}/0"


@pytest.fixture
def api(url: str, untrained_checkpoint: Path, tmp_path: Path) -> Iterator[InProcess]:
    settings = Settings.of(
        data=tmp_path / "data",
        checkpoints=str(untrained_checkpoint.parent),
        dispatcher="celery",
        redis_url=SecretStr(url),
        reconcile_seconds=0.2,
    )
    with run_in_process(create_app(settings)) as api:
        yield api


def test_forecasts_are_accepted_at_once_and_readiness_names_redis(
    api: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    api.post("/forecast", json=small_request())
    for seed in range(3):
        began = time.monotonic()
        response = api.post("/forecast", json=small_request(seed=seed))
        assert response.status_code == 202, response.text
        assert time.monotonic() - began < 5, "it waits for Redis"
    wait_until(lambda: api.get("/readyz").json()["checks"]["redis"] is False)
    ready = api.get("/readyz")
    assert ready.status_code == 503
    assert "Redis does not answer" in ready.json()["details"]["redis"]
    assert 'warmcast_ready{check="redis"} 0.0' in api.get("/metrics").text
    assert "hunter2" not in caplog.text + ready.text
