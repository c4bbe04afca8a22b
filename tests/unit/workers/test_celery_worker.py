import os
import sys
from typing import Any

import pytest

from jobs.settings import Settings
from workers.celery_worker import run_celery_worker


def test_celery_does_not_receive_the_arguments_of_warmcast(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def execve(_path: str, command: list[str], environment: dict[str, Any]) -> None:
        commands.append(command)
        raise SystemExit

    monkeypatch.setattr(sys, "argv", ["warmcast", "worker"])
    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(SystemExit):
        run_celery_worker(Settings())
    assert commands == [[sys.executable, "-P", "-m", "workers.celery_worker"]]
