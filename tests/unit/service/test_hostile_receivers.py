"""Receivers of callbacks that drip, never end, send too much, pose as others, or are this machine by another name."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jobs.callback_hosts import AllowedHosts
from jobs.deliveries import Delivery, Outcome
from service.webhook_requests import post_delivery
from tests.receivers import SECRET, receiving

_LOCAL = AllowedHosts.parse("localhost,127.0.0.0/8", allows_http=True)
_SECONDS = 0.3
_OK = (b"HTTP/1.1 204 No Content\r\n\r\n",)
_LATE, _BROKEN = "no answer in time", "the connection failed or broke"


class _Server:
    """A server that sends parts of an answer, whatever it receives; it counts the bytes that it could send."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.parts: Iterator[bytes] = iter(())
        self.pause_seconds, self.num_bytes = 0.0, 0
        self._context, self._socket = context, socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._answer)

    def _answer(self) -> None:
        with suppress(OSError):
            plain, _ = self._socket.accept()
            with plain if self._context is None else self._context.wrap_socket(plain, server_side=True) as connection:
                for part in self.parts:
                    connection.sendall(part)
                    self.num_bytes += len(part)
                    time.sleep(self.pause_seconds)
                while connection.recv(1 << 16):
                    """Read the request until the client closes the connection."""

    @contextmanager
    def sending(self, *parts: bytes, then: bytes = b"", pause_seconds: float = 0.0) -> Iterator[None]:
        """Answer one connection with parts, and then with the same part again and again."""
        self.parts, self.pause_seconds = chain(parts, repeat(then) if then else ()), pause_seconds
        self._thread.start()
        try:
            yield
        finally:
            self._socket.close()
            self._thread.join(10)
            assert not self._thread.is_alive()


def _certificate(folder: Path, host: str = "localhost", days: int = 1) -> Path:
    """Write a certificate that is its own authority, with its key, and return the file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    content = certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    content += key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / f"{host}.pem"
    path.write_bytes(content)
    return path


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Server]:
    """Make a server with a certificate, by default one that this machine trusts for `localhost`."""

    def make(*, is_trusted: bool = True, **options: str | int) -> _Server:
        path = _certificate(tmp_path, **options)  # type: ignore[arg-type] # the options of `_certificate`
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(path))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return _Server(context)

    return make


def _post(url: str, hosts: AllowedHosts = _LOCAL, seconds: float = 10) -> Outcome:
    return post_delivery(Delivery(1, "fc_1", "local", "msg_1", "alert", "{}", 1, url, SECRET), hosts, seconds)


@pytest.mark.parametrize(
    ("first", "then", "pause"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
        (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n", 0.02),
    ],
)
@pytest.mark.parametrize("is_secure", [False, True])
def test_an_answer_without_end_ends_in_time(
    secure: Callable[..., _Server], first: bytes, then: bytes, pause: float, is_secure: bool
) -> None:
    server = secure() if is_secure else _Server(None)
    with server.sending(first, then=then, pause_seconds=pause):
        began = time.monotonic()
        outcome = _post(f"{'https' if is_secure else 'http'}://localhost:{server.port}/", seconds=_SECONDS)
        assert time.monotonic() - began < 20 * _SECONDS
    assert (outcome.status_code, outcome.error) == (None, _LATE)


def test_a_handshake_without_end_ends_in_time() -> None:
    server = _Server(None)
    with server.sending(b"\x16\x03\x03\x40\x00", then=b"\x00", pause_seconds=0.02):
        assert _post(f"https://localhost:{server.port}/", seconds=_SECONDS).error == _LATE


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536, (200, None)),
        (b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nxxxxx\r\n" * 999, (500, "the status 500")),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536, (None, _BROKEN)),
        (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n" * 999, (None, _BROKEN)),
        (b"", b"\x00" * 65536, (None, _BROKEN)),
        (b"HTTP/1.1 99999999999 OK\r\n\r\n", b"", (None, _BROKEN)),
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"", (None, _BROKEN)),
    ],
)
def test_no_more_of_an_answer_is_read_than_its_status(first: bytes, then: bytes, expected: tuple[int, str]) -> None:
    server = _Server(None)
    with server.sending(first, then=then):
        outcome = _post(f"http://localhost:{server.port}/")
    assert (outcome.status_code, outcome.error) == expected
    assert server.num_bytes < 20_000_000, "the buffers of the connection, and no more"


def test_a_receiver_with_a_certificate_that_is_trusted_gets_its_delivery(secure: Callable[..., _Server]) -> None:
    server = secure()
    with server.sending(*_OK):
        assert _post(f"https://localhost:{server.port}/").status_code == 204


@pytest.mark.parametrize("options", [{"is_trusted": False}, {"host": "other.example"}, {"days": -1}])
def test_a_certificate_of_nobody_of_another_host_or_of_the_past_ends_the_attempt(
    secure: Callable[..., _Server], options: dict[str, str | int]
) -> None:
    server = secure(**options)
    with server.sending(*_OK):
        assert _post(f"https://localhost:{server.port}/").error == "the certificate or the encryption is not valid"
    assert server.num_bytes == 0


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "localhost.", "LOCALHOST", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"),
        *(
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "0.0.0.0",
            "[::]",
        ),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.1.", "%31%32%37.0.0.1", "①②⑦.⓪.⓪.①", "[::1%25lo]"),
    ],
)
def test_no_spelling_of_this_machine_is_reached_if_all_public_hosts_are_allowed(host: str) -> None:
    with receiving() as receiver:
        outcome = _post(f"http://{host}:{receiver.port}/", AllowedHosts.parse("*", allows_http=True), 2)
        assert outcome.error in {
            "the service does not allow this host",
            "the host has no address that is allowed",
            "the host has no address",
        }
        assert receiver.received == []
