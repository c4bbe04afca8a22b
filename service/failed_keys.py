"""Slow down callers that send wrong API keys; a right key is never refused, whatever its address has sent before."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from service.problems import TOO_MANY_KEYS, ServiceError

_IPV6_PREFIX = 64
"""Bits of an IPv6 address that one caller has in common: it can choose all others."""


class FailedKeys:
    """A token bucket for each client address: `burst` wrong keys at once, then one every `seconds`.

    At most `max_addresses` are kept; the address whose last wrong key is the oldest is forgotten first.
    """

    def __init__(
        self,
        *,
        burst: int = 10,
        seconds: float = 6.0,
        max_addresses: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._longest, self._seconds = (burst - 1) * seconds, seconds
        self._max_addresses, self._clock = max_addresses, clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of addresses that are kept."""
        return len(self._full_at)

    def count(self, address: str) -> None:
        """Count a wrong key from an address; raise `ServiceError` (429) if it has sent too many, uncounted."""
        name, now = caller_address(address), self._clock()
        full_at = max(self._full_at.pop(name, now), now)
        wait = full_at - now - self._longest
        self._full_at[name] = full_at if wait > 0 else full_at + self._seconds
        while len(self._full_at) > self._max_addresses:
            self._full_at.popitem(last=False)
        if wait > 0:
            seconds = math.ceil(wait)
            kind = replace(TOO_MANY_KEYS, retry_after=seconds)
            raise ServiceError(kind, f"Too many wrong API keys were sent from {name}. Wait {seconds} s.")


def caller_address(address: str) -> str:
    """Return the part of a client address that a caller cannot choose."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "an unknown address"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False))
    return str(parsed)
