"""`warmcast bench page`: how smoothly the page goes through the lead times of a large forecast in a browser."""

import gzip
import json as json_module
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.engine_processes import BenchmarkError
from benchmarks.measurement import publish_results
from benchmarks.serving import REQUEST, pinned, serve_on_cores
from models.testing import tiny_spec, write_tiny_checkpoint

_FRAMES_A_SECOND = 20
_FIRST_VIEW_SECONDS = 2.0
_MAX_COMPRESSED_BYTES = 1.5e6
_SETTLE_SECONDS = 2.0
_WAIT_SECONDS = 60
_PAUSE_SECONDS = 0.2
_FIELDS = ("speed", "spread", "member")
_DESKTOP = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
_REQUESTS = "performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => name.includes('/c.'))"
_FIRST_VIEW = """(async () => {
  while (!document.querySelector("#map")?.dataset.drawn) await new Promise(requestAnimationFrame);
  return performance.now() / 1000;
})()"""
_SCRUB = """(async () => {
  performance.setResourceTimingBufferSize(1e5);
  const [slider, map] = [document.querySelector("#slider"), document.querySelector("#map")];
  const began = performance.now();
  for (let index = 1; index <= Number(slider.max); index++) {
    const before = map.dataset.drawn;
    slider.value = index;
    slider.dispatchEvent(new Event("input"));
    while (map.dataset.drawn === before) await new Promise(requestAnimationFrame);
  }
  return (performance.now() - began) / 1000;
})()"""


def bench_page(*, json: Path | None, tiny: bool) -> dict[str, Any]:
    """Go through 60 lead times of 50 members on 121 × 240 on the page, in Chromium on one core.

    - `scrub_ratio`: frames a second of the mean wind while each lead time is read for the first time, over 20.
    - `cpu_scrub_ratio`: the same by the CPU time of all processes of the browser, which other load does not change.
    - `first_view_ratio`: 2 s over the time from the request of the page to the first field on the map.
    - `chunk_ratio`: chunks that were read, whole or in part, over those that the frames need, of all fields.
    - `size_ratio`: 1.5 MB over the compressed size of the page.

    `tiny` makes everything small for tests; its results mean nothing.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise BenchmarkError("This benchmark needs the program `chromium`, which is not installed.")
    grid, members, lead_hours = ((16, 32), 2, 12) if tiny else ((121, 240), 50, 360)
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        work = Path(folder)
        spec = tiny_spec(*grid, has_poles=not tiny)
        write_tiny_checkpoint(work / "checkpoints" / "tiny", trained=False, spec=spec)
        size = {"members": members, "lead_time": f"{lead_hours}h", "sampler": {"nfe": 2}}
        with serve_on_cores(work, cores, checkpoints=str(work / "checkpoints")) as service:
            forecast = service.submit(REQUEST | {"model": "tiny"} | size)
            service.wait(forecast)
            with pinned(cores[0]), _open_browser(chromium) as browser:
                address = f"http://127.0.0.1:{service.port}/#f={forecast}&field="
                rows = [_measure(browser, address + field, field, lead_hours // 6) for field in _FIELDS]
    title = f"{members} members, {lead_hours // 6} lead times, {grid[0]} × {grid[1]}, Chromium on one core"
    return publish_results(title, rows, compute_page_ratios(rows, compressed_bytes()), json)


def compute_page_ratios(rows: list[dict[str, Any]], size_bytes: int) -> dict[str, float]:
    """Return the ratios of the measurements of fields, of which the first one is the mean wind."""
    speed = rows[0]
    return {
        "scrub_ratio": speed["first pass, frames/s"] / _FRAMES_A_SECOND,
        "cpu_scrub_ratio": speed["by CPU time, frames/s"] / _FRAMES_A_SECOND,
        "first_view_ratio": _FIRST_VIEW_SECONDS / speed["first view s"],
        "chunk_ratio": sum(row["chunks"] for row in rows) / sum(row["needed"] for row in rows),
        "size_ratio": _MAX_COMPRESSED_BYTES / size_bytes,
    }


def compressed_bytes() -> int:
    """Return the size of all files of the page, compressed as the service sends them."""
    assets = files("service") / "static" / "viewer"
    paths = [assets / "index.html", *(assets / "assets").iterdir()]
    return sum(len(gzip.compress(path.read_bytes())) for path in paths)


@contextmanager
def _open_browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class _Tab:
    """A tab that Playwright does not watch: its record of all bytes of the network costs as much as drawing them."""

    def __init__(self, browser: Browser) -> None:
        self._session = browser.new_browser_cdp_session()
        self._replies = dict[int, dict[str, Any]]()
        self._session.on("Target.receivedMessageFromTarget", self._keep)
        self._target = self._session.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._session.send("Target.attachToTarget", {"targetId": self._target, "flatten": False})
        self._id, self._last = attached["sessionId"], 0
        self._send("Emulation.setDeviceMetricsOverride", _DESKTOP)
        self._send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]})

    def open(self, address: str) -> None:
        """Go to an address."""
        self._send("Page.navigate", {"url": address})

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, or that to which it resolves."""
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        reply = self._send("Runtime.evaluate", options)
        if "exceptionDetails" in reply:
            raise BenchmarkError(f"The page failed: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    def count_chunks(self) -> int:
        """Return the number of chunks of which the page has read anything."""
        return len(set(self.evaluate(_REQUESTS)))

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes of the browser."""
        processes = self._session.send("SystemInfo.getProcessInfo")["processInfo"]
        return float(sum(process["cpuTime"] for process in processes))

    def close(self) -> None:
        """Close the tab."""
        self._session.send("Target.closeTarget", {"targetId": self._target})
        self._session.detach()

    def _keep(self, event: dict[str, Any]) -> None:
        message = json_module.loads(event["message"])
        if "id" in message:
            self._replies[message["id"]] = message

    def _send(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        message = json_module.dumps({"id": self._last, "method": method, "params": parameters})
        self._session.send("Target.sendMessageToTarget", {"sessionId": self._id, "message": message})
        deadline = time.monotonic() + _WAIT_SECONDS
        while self._last not in self._replies:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"The browser does not answer {method} within {_WAIT_SECONDS} s.")
            self._session.send("Browser.getVersion")  # receives events too
            time.sleep(_PAUSE_SECONDS)
        reply = self._replies.pop(self._last)
        if "error" in reply:
            raise BenchmarkError(f"The browser refuses {method}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result


def _measure(browser: Browser, address: str, field: str, num_lead_times: int) -> dict[str, Any]:
    """Open the page with a field of a forecast, go through its lead times twice, and return the row of the table."""
    tab = _Tab(browser)
    tab.open(address)
    first_view = tab.evaluate(_FIRST_VIEW)
    time.sleep(_SETTLE_SECONDS)
    before, cpu = tab.count_chunks(), tab.cpu_seconds()
    first = tab.evaluate(_SCRUB)
    cpu, read = tab.cpu_seconds() - cpu, tab.count_chunks() - before
    again = tab.evaluate(_SCRUB)
    tab.close()
    arrays = 2 if field == "member" else 1
    return {
        "field": field,
        "first view s": first_view,
        "first pass, frames/s": num_lead_times / first,
        "by CPU time, frames/s": num_lead_times / cpu,
        "second pass, frames/s": num_lead_times / again,
        "chunks": read,
        # the one of the first lead time was read ahead
        "needed": arrays * (num_lead_times - 1),
    }
