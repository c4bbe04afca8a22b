"""The other processes of a training end with it."""

import logging
import time
from functools import partial

import pytest

from tests.helpers import wait_until
from training import launch
from training.launch import start_other_processes


def test_a_process_that_does_not_end_by_itself_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch, "_END_SECONDS", 0.2)
    with caplog.at_level(logging.WARNING), start_other_processes(2, partial(time.sleep, 600)):
        (other,) = launch.multiprocessing.active_children()
    wait_until(lambda: not other.is_alive(), 10)
    assert "has not ended within 0.2 s of its work, and is killed" in caplog.text


def test_processes_that_have_ended_are_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), start_other_processes(3, partial(time.sleep, 0)):
        pass
    assert not caplog.text
