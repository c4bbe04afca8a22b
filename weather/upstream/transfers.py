"""Requests to the servers of a data set: to checked addresses, within limits, and repeated if they fail."""

import http.client
import importlib.metadata
import random
import re
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar
from urllib.parse import urljoin

from storage.connections import AddressNotAllowedError, connect, resolve
from storage.hosts import Hosts, Target
from weather.errors import UpstreamError, UpstreamRefusedError

Result = Literal["received", "absent", "repeated", "failed", "refused"]
_ABSENT, _REDIRECTS, _LIMITED = {403, 404, 410}, {301, 302, 303, 307, 308}, {408, 425, 429}
_MAX_REDIRECTS, _BLOCK_BYTES = 3, 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")

T = TypeVar("T")


class PassingError(Exception):
    """A request fails in a way that may pass; the message is a phrase that names the host."""


class Meter(Protocol):
    """Counts requests."""

    def count(self, dataset: str, result: Result, size_bytes: int, /) -> None:
        """Count a request of a data set, its result and the bytes of the answer."""


class NoMeter:
    """Counts nothing."""

    def count(self, dataset: str, result: Result, size_bytes: int, /) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Patience:
    """How long to try: attempts of one step, the first pause between them, and seconds of a request and of all.

    Each pause is twice the one before, and up to a half longer by chance. `sleep` and `monotonic` are those of `time`.
    """

    attempts: int = 4
    pause_seconds: float = 1.0
    request_seconds: float = 30.0
    total_seconds: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


class Transfer:
    """The requests that one call for a data set makes, which share limits of time and of bytes."""

    def __init__(self, dataset: str, hosts: Hosts, patience: Patience, meter: Meter, max_bytes: int) -> None:
        self._dataset, self._hosts, self._patience, self._meter = dataset, hosts, patience, meter
        self._max_bytes = self._remaining_bytes = max_bytes
        self._deadline = patience.monotonic() + patience.total_seconds

    def repeat(self, step: Callable[[], T]) -> T:
        """Return the result of a step, which is repeated while it raises `PassingError`; else raise `UpstreamError`."""
        pause = self._patience.pause_seconds
        for attempt in range(1, self._patience.attempts + 1):
            try:
                return step()
            except PassingError as error:
                pause_seconds = pause * random.uniform(1.0, 1.5)
                is_late = self._patience.monotonic() + pause_seconds >= self._deadline
                if attempt == self._patience.attempts or is_late:
                    self._meter.count(self._dataset, "failed", 0)
                    message = f"Data set {self._dataset} is not available: {error}, {attempt} times. Try again later."
                    raise UpstreamError(self._dataset, message) from error
                self._meter.count(self._dataset, "repeated", 0)
                self._patience.sleep(pause_seconds)
                pause *= 2
        raise AssertionError

    def get(self, url: str, first: int | None = None, length: int = 0, max_bytes: int | None = None) -> bytes | None:
        """Return a file, or `length` bytes of it from `first`; None if it is not there.

        Raises `PassingError`, and `UpstreamRefusedError` for a server that is not allowed, redirects to another, sends
        more than `max_bytes`, or ignores ranges.
        """
        headers = {} if first is None else {"Range": f"bytes={first}-{first + length - 1}"}
        limit = length if first is not None else self._remaining_bytes if max_bytes is None else max_bytes
        return self._send("GET", url, headers, lambda response: self._read(response, first, limit))

    def find_size(self, url: str) -> int | None:
        """Return the size of a file in bytes, or None if it is not there; raises the errors of `get`."""

        def read_size(response: http.client.HTTPResponse) -> int:
            text = response.headers.get("Content-Length", "")
            if not text.isdecimal():
                raise self.refuse(f"{_host(url)} does not state the size of its files")
            return int(text)

        return self._send("HEAD", url, {}, read_size)

    def refuse(self, reason: str) -> UpstreamRefusedError:
        """Return the error for what is not accepted, and count it."""
        self._meter.count(self._dataset, "refused", 0)
        return UpstreamRefusedError(self._dataset, f"Data set {self._dataset} cannot be used: {reason}.")

    def _send(
        self, method: str, url: str, headers: dict[str, str], read: Callable[[http.client.HTTPResponse], T]
    ) -> T | None:
        for _ in range(_MAX_REDIRECTS + 1):
            target = self._find_target(url)
            try:
                with connect(target, self._resolve(target), self._seconds()) as connection:
                    connection.request(method, target.path, headers=headers | _headers())
                    with closing(connection.getresponse()) as response:
                        if response.status not in _REDIRECTS:
                            return self._answer(response, target, read)
                        location = response.headers.get("Location", "")
            except ssl.SSLError as error:
                raise PassingError(f"the certificate or the encryption of {target.host} is not valid") from error
            except TimeoutError as error:
                raise PassingError(f"{target.host} does not answer in time") from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise PassingError(f"the connection to {target.host} fails or breaks") from error
            url = self._follow(url, target, location)
        raise self.refuse(f"{target.host} redirects more than {_MAX_REDIRECTS} times")

    def _answer(
        self, response: http.client.HTTPResponse, target: Target, read: Callable[[http.client.HTTPResponse], T]
    ) -> T | None:
        if response.status in _ABSENT:
            self._meter.count(self._dataset, "absent", 0)
            return None
        if response.status == 416:
            raise PassingError(f"{target.host} has a file that is shorter than its index says")
        if response.status >= 500 or response.status in _LIMITED:
            raise PassingError(f"{target.host} answers with the status {response.status}")
        if response.status not in (200, 206):
            raise self.refuse(f"{target.host} answers with the status {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self.refuse(f"{target.host} sends compressed answers, which were not requested")
        return read(response)

    def _read(self, response: http.client.HTTPResponse, first: int | None, limit: int) -> bytes:
        if (first is None) != (response.status == 200):
            raise self.refuse("its server does not answer requests for a part of a file")
        if first is not None:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != first:
                raise self.refuse("its server sends another part of a file than was requested")
        content = b""
        while block := response.read(_BLOCK_BYTES):
            content += block
            if len(content) > min(limit, self._remaining_bytes):
                raise self.refuse(f"its server sends more than {min(limit, self._max_bytes)} bytes")
        expected = response.headers.get("Content-Length")
        if (expected is not None and expected != str(len(content))) or (first is not None and len(content) != limit):
            raise PassingError("the answer is cut short")
        self._remaining_bytes -= len(content)
        self._meter.count(self._dataset, "received", len(content))
        return content

    def _find_target(self, url: str) -> Target:
        target = self._hosts.parse_target(url)
        if target is None:
            raise self.refuse(f"its addresses must begin with {self._hosts.schemes} and a host")
        if not self._hosts.allows_host(target.host):
            raise self.refuse(f"the host {target.host!r} is not one of its definition")
        return target

    def _resolve(self, target: Target) -> list[str]:
        try:
            return resolve(target, self._hosts)
        except AddressNotAllowedError as error:
            raise self.refuse(
                f"{target.host} has no public address; WARMCAST_DATASETS_NETWORKS allows networks that are not public"
            ) from error
        except OSError as error:
            raise PassingError(f"{target.host} has no address") from error

    def _follow(self, url: str, target: Target, location: str) -> str:
        new = urljoin(url, location)
        found = self._hosts.parse_target(new)
        if found is None or (found.scheme, found.host, found.port) != (target.scheme, target.host, target.port):
            raise self.refuse(f"{target.host} redirects to another address, which is not followed")
        return new

    def _seconds(self) -> float:
        remaining = self._deadline - self._patience.monotonic()
        if remaining <= 0:
            raise PassingError("the time for it is over")
        return min(remaining, self._patience.request_seconds)


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _headers() -> dict[str, str]:
    return {"Accept-Encoding": "identity", "User-Agent": f"warmcast/{importlib.metadata.version('warmcast')}"}
