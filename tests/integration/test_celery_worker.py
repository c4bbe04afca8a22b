import os
import subprocess
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from jobs.database import Database
from jobs.settings import Settings
from jobs.testing import RedisServer
from jobs.workers import count_alive


def test_a_celery_worker_is_known_before_it_has_work(redis_server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    settings = Settings(
        data=tmp_path / "data", dispatcher="celery", redis_url=SecretStr(redis_server.url), device="cpu"
    )
    database = Database(settings.url)
    database.migrate()
    log = tmp_path / "worker.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from warmcast.cli import main; main()", "worker"],
            env=os.environ | settings.environment(), stdout=output, stderr=output,
        )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not count_alive(database):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(30)
        database.close()
