"""Connect to the very address that was checked, without redirects, cookies or proxies, in a limited time.

A name that resolves to another address a moment later leads nowhere else.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from storage.hosts import Hosts, Target

CONNECT_SECONDS = 5.0


class AddressNotAllowedError(OSError):
    """A host has no address that is allowed."""


def resolve(target: Target, hosts: Hosts) -> list[str]:
    """Return the addresses of a host that are allowed.

    Raises `AddressNotAllowedError` if none is, and another `OSError` if the host has no address.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    allowed = [str(each[4][0]) for each in found if hosts.allows_address(ip_address(str(each[4][0]).split("%")[0]))]
    if not allowed:
        raise AddressNotAllowedError("the host has no address that is allowed")
    return allowed


@contextmanager
def connect(target: Target, addresses: list[str], total_seconds: float) -> Iterator[http.client.HTTPConnection]:
    """Yield a connection to the first address that accepts one.

    After `total_seconds` it breaks, however much is sent until then, and the block ends in `TimeoutError`.
    """
    plain = _open_socket(target.port, addresses)
    is_late, of_timer = threading.Event(), plain.dup()  # encryption takes the file descriptor of `plain` away
    timer = threading.Timer(total_seconds, _break, [of_timer, is_late])
    timer.daemon = True
    timer.start()
    connection = http.client.HTTPConnection(target.host, target.port, timeout=CONNECT_SECONDS)
    try:
        plain.settimeout(total_seconds)
        is_secure = target.scheme == "https"
        connection.sock = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=target.host) if is_secure else plain
        )
        if is_secure:
            connection.default_port = 443
        yield connection
    except (OSError, http.client.HTTPException) as error:
        if is_late.is_set():
            raise TimeoutError("the connection has taken too long") from error
        raise
    else:
        if is_late.is_set():  # an answer that was cut off may look complete
            raise TimeoutError("the connection has taken too long")
    finally:
        timer.cancel()
        connection.close()
        plain.close()
        of_timer.close()


def _open_socket(port: int, addresses: list[str]) -> socket.socket:
    error: OSError = ConnectionError("no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=CONNECT_SECONDS)
        except OSError as failure:
            error = failure
    raise error


def _break(of_timer: socket.socket, is_late: threading.Event) -> None:
    is_late.set()
    try:
        of_timer.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
