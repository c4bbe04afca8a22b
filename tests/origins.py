"""A server of analyses for tests: the layouts of NOAA's and ECMWF's archives on a tiny grid, and faults on demand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from tests.analyses import analysis_messages

Fault = Callable[["_Handler"], bool]
"""Answers a request and returns True, or returns False if the usual answer shall follow."""


@dataclass
class AnalysisServer:
    """Files by path, and the faults of the next requests for a path; `requests` are method, path and range.

    While `is_away`, all requests get 503.
    """

    port: int = 0
    is_away: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://localhost:{self.port}"

    def definitions(self, *, url: str | None = None) -> str:
        """Return TOML with the data sets `noaa` and `ecmwf` of this server."""
        base = url or self.url
        common = 'kind = "grib-index"\nattribution = "Of a test"\nlicence = "CC-BY-4.0"\n'
        noaa = f"{base}/gfs.{{yyyymmdd}}/{{hh}}/gfs.t{{hh}}z.f000"
        ecmwf = f"{base}/{{yyyymmdd}}/{{hh}}z/{{stream}}/{{yyyymmdd}}{{hh}}0000-0h-{{stream}}-fc"
        return (
            f'[noaa]\n{common}url = "{noaa}"\nindex_url = "{noaa}.idx"\nindex = "idx"\n'
            'parameters = { u10 = "UGRD:10 m above ground", v10 = "VGRD:10 m above ground" }\n'
            f'[ecmwf]\n{common}url = "{ecmwf}.grib2"\nindex_url = "{ecmwf}.index"\nindex = "json-lines"\n'
            'streams = { 0 = "oper", 6 = "scda", 12 = "oper", 18 = "scda" }\n'
            'parameters = { u10 = "10u", v10 = "10v" }\n'
        )

    def publish(self, time: np.datetime64, *, content_time: np.datetime64 | None = None) -> None:
        """Put an analysis there in both layouts; `content_time` is that of the messages if it is another one."""
        others = b"GRIB" + bytes(60) + b"7777"
        messages = [others, *analysis_messages(time if content_time is None else content_time), others]
        starts = [0, *np.cumsum([len(message) for message in messages]).tolist()]
        noaa, ecmwf = path_of(time), path_of(time, ecmwf=True)
        self.files[noaa] = self.files[ecmwf] = b"".join(messages)
        self.files[f"{noaa}.idx"] = _idx(time, starts)
        self.files[ecmwf.replace(".grib2", ".index")] = _json_lines(time, starts, messages)

    def fail(self, path: str, *faults: Fault) -> None:
        """Let the next requests for a path fail, one after another."""
        self.faults.setdefault(path, []).extend(faults)


def path_of(time: np.datetime64, *, ecmwf: bool = False) -> str:
    """Return the path of the file of a time."""
    date, hour = str(np.datetime_as_string(time, "h")).replace("-", "").split("T")
    stream = "oper" if hour in ("00", "12") else "scda"
    if ecmwf:
        return f"/{date}/{hour}z/{stream}/{date}{hour}0000-0h-{stream}-fc.grib2"
    return f"/gfs.{date}/{hour}/gfs.t{hour}z.f000"


def _idx(time: np.datetime64, starts: list[int]) -> bytes:
    date = str(np.datetime_as_string(time, "h")).replace("-", "").replace("T", "")
    names = ["PRMSL:mean sea level", "UGRD:10 m above ground", "VGRD:10 m above ground", "TMP:2 m above ground"]
    lines = [f"{n + 1}:{starts[n]}:d={date}:{name}:anl:\n" for n, name in enumerate(names)]
    return "".join(lines).encode()


def _json_lines(time: np.datetime64, starts: list[int], messages: list[bytes]) -> bytes:
    date, hour = str(np.datetime_as_string(time, "h")).replace("-", "").split("T")
    names = ["msl", "10u", "10v", "2t"]
    rows = [
        {"date": date, "time": f"{hour}00", "step": "0", "levtype": "sfc", "param": name, "type": "fc"}
        | {"_offset": starts[n], "_length": len(messages[n])}
        for n, name in enumerate(names)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def usual() -> Fault:
    """Answer as usual."""
    return lambda _: False


def status(code: int) -> Fault:
    """Answer with a status."""
    return lambda handler: handler.answer(code, b"")


def redirect(location: str) -> Fault:
    """Answer with a redirect."""
    return lambda handler: handler.answer(302, b"", Location=location)


def cut() -> Fault:
    """Send half of the answer, and close the connection."""
    return lambda handler: handler.answer_file(sent=0.5)


def whole_file() -> Fault:
    """Ignore the range that is requested."""
    return lambda handler: handler.answer(200, handler.server_state.files[handler.path])


def endless(size: int = 10_000_000) -> Fault:
    """Send many more bytes than the file has."""
    return lambda handler: handler.answer(200, bytes(size))


def silent(released: threading.Event) -> Fault:
    """Answer nothing until an event is set."""
    return lambda _: not released.wait(30)


class _Handler(BaseHTTPRequestHandler):
    server_state: AnalysisServer

    def do_GET(self) -> None:
        state = self.server_state
        state.requests.append((self.command, self.path, self.headers.get("Range")))
        if state.is_away:
            self.answer(503, b"")
            return
        faults = state.faults.get(self.path)
        if faults and faults.pop(0)(self):
            return
        self.answer_file()

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer_file(self, sent: float = 1.0) -> bool:
        """Answer with the file or the range that is requested, or `sent` of it; True."""
        content = self.server_state.files.get(self.path)
        if content is None:
            return self.answer(404, b"")
        text = self.headers.get("Range")
        if text is None:
            return self.answer(200, content, sent)
        first, last = map(int, text.removeprefix("bytes=").split("-"))
        if first >= len(content):
            return self.answer(416, b"")
        part = content[first : last + 1]
        size = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}
        return self.answer(206, part, sent, **size)

    def answer(self, code: int, content: bytes, sent: float = 1.0, **headers: str) -> bool:
        """Answer with a status and a body, of which a part is sent; True."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):  # the client has left
                self.wfile.write(content[: int(sent * len(content))])
        return True

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def serving_analyses() -> Iterator[AnalysisServer]:
    """Run a server of analyses on a free port of this machine."""
    state = AnalysisServer()
    handler = type("Handler", (_Handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        state.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
