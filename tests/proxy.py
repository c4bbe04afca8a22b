"""A TCP proxy in front of a server, whose network can become a black hole."""

import socket
import threading
from contextlib import suppress
from typing import Self


class TcpProxy:
    """Forward connections of the loopback interface to a port; `cut` stops all bytes without closing anything.

    As in a network whose packets are lost and sent again, bytes from the time of the cut arrive after `restore`.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._adding, self._closed = threading.Lock(), False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        with self._adding:
            self._closed = True
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def cut(self) -> None:
        """Forward nothing from now on; clients can still connect."""
        self._open.clear()

    def restore(self) -> None:
        """Forward what has come since the cut, and everything after it."""
        self._open.set()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with suppress(OSError):
            self._add(client)
            self._open.wait()
            server = self._add(socket.create_connection(("127.0.0.1", self._server_port)))
            threading.Thread(target=self._forward, args=(server, client), daemon=True).start()
            self._forward(client, server)

    def _add(self, connection: socket.socket) -> socket.socket:
        """Return a connection that the end of the proxy closes; raise `OSError` if the proxy has ended."""
        with self._adding:
            if not self._closed:
                self._sockets.append(connection)
                return connection
        connection.close()
        raise ConnectionAbortedError

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
