"""`warmcast bench page`: how smoothly the page goes through the lead times of a large forecast in a browser."""

import gzip
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.engine_processes import BenchmarkError
from benchmarks.measurement import publish_results
from benchmarks.serving import REQUEST, pinned, serve_on_cores
from models.testing import tiny_spec, write_tiny_checkpoint

_FRAMES_A_SECOND = 20
_FIRST_VIEW_SECONDS = 2.0
_MAX_COMPRESSED_BYTES = 1.5e6
_SETTLE_MILLISECONDS = 2000
_WAIT_SECONDS = 60
_FIELDS = ("speed", "spread", "member")
_SCRUB = """async () => {
  const [slider, map] = [document.querySelector("#slider"), document.querySelector("#map")];
  const began = performance.now();
  for (let index = 1; index <= Number(slider.max); index++) {
    const before = map.dataset.drawn;
    slider.value = index;
    slider.dispatchEvent(new Event("input"));
    while (map.dataset.drawn === before) await new Promise(requestAnimationFrame);
  }
  return (performance.now() - began) / 1000;
}"""


def bench_page(*, json: Path | None, tiny: bool) -> dict[str, Any]:
    """Go through 60 lead times of 50 members on 121 × 240 on the page, in Chromium on one core.

    - `scrub_ratio`: frames a second of the mean wind while each lead time is read for the first time, over 20.
    - `cpu_scrub_ratio`: the same by the CPU time of all processes of the browser, which other load does not change.
    - `first_view_ratio`: 2 s over the time from the request of the page to the first field on the map.
    - `chunk_ratio`: chunks that were read over those that the frames need, of all fields.
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


def _measure(browser: Browser, address: str, field: str, num_lead_times: int) -> dict[str, Any]:
    """Open the page with a field of a forecast, go through its lead times twice, and return the row of the table."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    chunks: list[str] = []
    page.on("request", lambda request: chunks.append(request.url) if "/c." in request.url else None)
    began = time.perf_counter()
    page.goto(address)
    _wait_for_field(page)
    first_view = time.perf_counter() - began
    page.wait_for_timeout(_SETTLE_MILLISECONDS)
    before, cpu = len(chunks), _cpu_seconds(browser)
    first = page.evaluate(_SCRUB)
    cpu, read = _cpu_seconds(browser) - cpu, len(chunks) - before
    again = page.evaluate(_SCRUB)
    page.close()
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


def _wait_for_field(page: Page) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not page.get_attribute("#map", "data-drawn"):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"The page has drawn nothing in {_WAIT_SECONDS} s: {page.inner_text('body')}")
        time.sleep(0.01)


def _cpu_seconds(browser: Browser) -> float:
    """Return the CPU time of all processes of the browser."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return float(sum(process["cpuTime"] for process in processes))
