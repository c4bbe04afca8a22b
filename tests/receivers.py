"""A receiver of callbacks for tests: a real HTTP server, which answers as a test wants and verifies signatures."""

import base64
import hashlib
import hmac
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass
class Receiver:
    """The requests that were received, and the statuses of the next answers; after the last one it is 204."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    received: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    before_answer: Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        """The URL of a callback."""
        return f"http://localhost:{self.port}/hook?token=hidden"

    def ids(self) -> list[str]:
        """Return the id of each received delivery."""
        return [headers["webhook-id"] for headers, _ in self.received]

    def is_signed(self, index: int) -> bool:
        """Return whether a received delivery has the signature of Standard Webhooks, by its own formula."""
        headers, body = self.received[index]
        message = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
        digest = hmac.digest(base64.b64decode(SECRET.partition("_")[2]), message, hashlib.sha256)
        return headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on a free port of this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            receiver.before_answer()
            status = receiver.statuses.pop(0) if receiver.statuses else 204
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"http://localhost:{receiver.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
