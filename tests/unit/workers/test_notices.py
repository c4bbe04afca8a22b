import os
import subprocess
import sys
import threading
import time

import pytest

from tests.helpers import wait_until
from workers.notices import Alarm, NoticeChannel

BUSY = """
import sys, time
from workers.notices import NoticeChannel
with NoticeChannel.parse(sys.argv[1:]).busy():
    print(flush=True)
    time.sleep(600)
"""


@pytest.fixture
def channel() -> NoticeChannel:
    return NoticeChannel.open()


def _busy_process(channel: NoticeChannel) -> "subprocess.Popen[bytes]":
    """Start a process that is busy until it is killed."""
    command = [sys.executable, "-c", BUSY, *channel.arguments]
    process = subprocess.Popen(command, pass_fds=channel.descriptors, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_notice_ends_the_wait_of_the_computing_process(channel: NoticeChannel) -> None:
    alarm = Alarm()
    threading.Timer(0.05, channel.deliver).start()
    began = time.monotonic()
    alarm.wait(60, channel)
    assert time.monotonic() - began < 30


def test_notices_from_before_the_work_are_discarded(channel: NoticeChannel) -> None:
    alarm = Alarm()
    for _ in range(3):
        channel.deliver()
    with channel.busy():
        pass
    began = time.monotonic()
    alarm.wait(0.2, channel)
    assert time.monotonic() - began >= 0.19


def test_any_number_of_notices_can_be_delivered(channel: NoticeChannel) -> None:
    for _ in range(70_000):
        channel.deliver()
    with channel.busy():
        pass


def test_a_notice_waits_for_a_busy_process_and_not_for_a_killed_one(channel: NoticeChannel) -> None:
    process = _busy_process(channel)
    delivering = threading.Thread(target=channel.deliver)
    delivering.start()
    delivering.join(0.1)
    assert delivering.is_alive()
    process.kill()
    process.communicate()
    wait_until(lambda: not delivering.is_alive())
    assert os.read(channel.receiver, 10) == b"1"


def test_an_alarm_ends_the_next_wait_too() -> None:
    alarm = Alarm()
    alarm.set()
    began = time.monotonic()
    alarm.wait(60)
    assert time.monotonic() - began < 30
