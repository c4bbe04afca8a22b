import ipaddress

import pytest

from service.failed_keys import FailedKeys
from service.problems import ServiceError


class _Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def _wait(failed: FailedKeys, address: str) -> int:
    """Count a wrong key, and return the seconds to wait if it is refused."""
    try:
        failed.count(address)
    except ServiceError as error:
        return error.kind.retry_after or -1
    return 0


def test_an_address_may_send_some_wrong_keys_at_once_and_then_one_at_a_time() -> None:
    clock = _Clock()
    failed = FailedKeys(burst=3, seconds=10.0, clock=clock)
    assert [_wait(failed, "192.0.2.1") for _ in range(5)] == [0, 0, 0, 10, 10]
    assert _wait(failed, "192.0.2.2") == 0, "another address"
    clock.seconds += 9.5
    assert _wait(failed, "192.0.2.1") == 1
    clock.seconds += 0.5
    assert [_wait(failed, "192.0.2.1") for _ in range(2)] == [0, 10]
    clock.seconds += 1e6
    assert [_wait(failed, "192.0.2.1") for _ in range(4)] == [0, 0, 0, 10]


def test_refused_requests_do_not_make_the_wait_longer() -> None:
    clock = _Clock()
    failed = FailedKeys(burst=1, seconds=10.0, clock=clock)
    assert {_wait(failed, "192.0.2.1") for _ in range(1000)} == {0, 10}
    clock.seconds += 10.0
    assert _wait(failed, "192.0.2.1") == 0


def test_the_addresses_of_one_caller_are_counted_together() -> None:
    failed = FailedKeys(burst=1)
    assert _wait(failed, "2001:db8::1") == 0
    assert all(_wait(failed, f"2001:db8::{index:x}") for index in range(2, 200))
    assert _wait(failed, "2001:db8:0:1::1") == 0
    assert _wait(failed, "192.0.2.1") == 0
    assert _wait(failed, "::ffff:192.0.2.1") > 0


@pytest.mark.parametrize("address", ["", "unknown", "x" * 100_000, "192.0.2.1, 10.0.0.1", "\x00"])
def test_what_is_no_address_is_counted_as_one_caller_and_not_kept(address: str) -> None:
    failed = FailedKeys(burst=1)
    assert _wait(failed, "no address") == 0
    with pytest.raises(ServiceError, match="an unknown address") as refusal:
        failed.count(address)
    assert (refusal.value.kind.slug, refusal.value.kind.status) == ("too-many-keys", 429)
    assert len(str(refusal.value)) < 200


def test_a_caller_with_any_number_of_addresses_takes_bounded_memory() -> None:
    failed = FailedKeys(max_addresses=100)
    for index in range(10_000):
        failed.count(str(ipaddress.ip_address(2**32 // 2 + index)))
    assert len(failed) == 100
