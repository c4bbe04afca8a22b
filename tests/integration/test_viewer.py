"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import wait_until
from tests.served import Served, small_request

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parents[2] / "viewer" / "node_modules" / "axe-core" / "axe.min.js"
MEMBERS, SLOW_SECONDS = 4, 60_000
_COLORS = """() => {
  const canvas = document.querySelector("#map canvas");
  const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size;
}"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's Chromium is not installed")


class Browser:
    """A page of the browser, with the errors in its console and the requests to other hosts."""

    def __init__(self, playwright: Any, served: Served) -> None:
        self._browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        self.page = self._browser.new_page(viewport={"width": 1200, "height": 800}, reduced_motion="reduce")
        self.page.set_default_timeout(SLOW_SECONDS)
        self.url = served.url
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._record)
        self.page.route("**/*", self._forward)

    def _record(self, message: Any) -> None:
        # a chunk that is not written yet is a 404 by the conventions of Zarr, which the browser reports as an error
        is_chunk = ".zarr/" in message.location.get("url", "") and "404" in message.text
        if message.type in ("error", "warning") and not is_chunk:
            self.errors.append(f"{message.text} ({message.location})")

    def _forward(self, route: Any) -> None:
        if route.request.url.startswith(self.url + "/"):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def choose_fields(self, field: str) -> None:
        drawn = self.num_drawn()
        self.page.select_option("#field", field)
        self.page.wait_for_function(
            "before => Number(document.querySelector('#map').dataset.drawn) > before", arg=drawn
        )

    def num_drawn(self) -> int:
        return int(self.page.get_attribute("#map", "data-drawn") or 0)

    def close(self) -> None:
        self._browser.close()


def _wait(page: Any, condition: str) -> None:
    """Wait until an expression is true; Playwright's own way to wait for it is forbidden by the policy of the page."""
    wait_until(lambda: page.evaluate(condition), describe=lambda: page.inner_text("body"))


@pytest.fixture
def browser(served: Served) -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = Browser(playwright, served)
        yield browser
        browser.close()


def test_a_forecast_is_submitted_grows_and_is_read_at_a_place(browser: Browser, served: Served) -> None:
    page = browser.page
    served.wait_for_worker()
    page.goto(f"{served.url}/")
    page.wait_for_selector("#new[open]")
    _submit(page)
    _check_growth(page)
    assert page.evaluate(_COLORS) > 20
    _check_place(page)
    for field in ("member", "spread", "probability", "speed"):
        browser.choose_fields(field)
    _check_stamps(page)
    _check_reload(page)
    _check_keys(page)
    _check_failure(page, served)
    _check_accessibility(page)
    assert browser.errors == []
    assert browser.foreign == []


def _submit(page: Any) -> None:
    _wait(page, "document.querySelector('#source').options.length > 1")
    states = page.eval_on_selector_all("#source option", "all => all.map(option => [option.text, option.value])")
    page.select_option("#source", next(value for text, value in states if text.startswith("nature-run")))
    page.select_option("#model", "untrained")
    page.fill("#members", str(MEMBERS))
    page.fill("#days", "15")
    page.fill("#seed", "7")
    _wait(page, "document.querySelector('#estimate').textContent.includes('on disk')")
    page.click("#submit button[type=submit]")
    page.wait_for_selector("#list li button[aria-current=true]")
    assert page.inner_text("#list li:first-child").startswith("Wed 1 Jul 1987 00:00 UTC")


def _check_growth(page: Any) -> None:
    """Wait for the last lead time; the map has followed the forecast to it without a reload."""
    _wait(page, "document.querySelector('#valid strong')?.textContent === '+360 h'")
    _wait(page, "document.querySelector('#list li').innerText.includes('complete')")
    assert int(page.get_attribute("#map", "data-drawn")) >= 3
    assert "t=360" in page.evaluate("location.hash")


def _check_place(page: Any) -> None:
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(f"#plume[data-members='{MEMBERS}'] canvas")
    page.wait_for_selector("#rose svg path")
    assert page.inner_text("#place h2").startswith("Wind at 3")
    page.click("#place summary")
    assert page.locator("#table tbody tr").count() == 1 + 60
    with page.expect_download() as download:
        page.click("#csv")
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) > 1
    assert "wind_speed_10m" in lines[0]


def _check_stamps(page: Any) -> None:
    """Open the stamps, choose one, and read the quality of the forecast beside the list."""
    page.click("#all-members")
    page.wait_for_selector(f"#stamps .stamp:nth-child({MEMBERS}) canvas")
    assert page.locator("#stamps .stamp").count() == MEMBERS
    page.click("#stamps .stamp:nth-child(2)")
    assert page.input_value("#field") == "member"
    assert page.input_value("#member") == "1"
    page.click("#quality summary")
    page.wait_for_selector("#spectrum-plot canvas")
    page.select_option("#field", "speed")


def _check_reload(page: Any) -> None:
    page.select_option("#units", "kn")
    page.click("#projection")
    before = page.evaluate("location.hash")
    assert "units=kn" in before
    assert "map=flat" in before
    page.reload()
    page.wait_for_selector(f"#plume[data-members='{MEMBERS}'] canvas")
    assert page.evaluate("location.hash") == before
    assert page.inner_text("#valid strong") == "+360 h"
    assert page.evaluate(_COLORS) > 20


def _check_keys(page: Any) -> None:
    page.focus("#map")
    page.keyboard.press("ArrowLeft")
    _wait(page, "document.querySelector('#valid strong').textContent === '+354 h'")
    page.keyboard.press("Space")
    _wait(page, "document.querySelector('#valid strong').textContent === '+360 h'")
    page.keyboard.press("Space")


def _check_failure(page: Any, served: Served) -> None:
    request = small_request(members=50, lead_time="360h", deadline_seconds=1)
    failed = served.client.post("/forecast", json=request).json()
    served.wait(failed["id"])
    page.goto(f"{served.url}/view/{failed['id']}")
    page.wait_for_selector("#message.error")
    detail = served.status(failed["id"])["error"]["detail"]
    assert page.inner_text("#message") == f"The forecast failed: {detail}"


def _check_accessibility(page: Any) -> None:
    """Look for serious violations with axe-core, where `make viewer` has installed it."""
    if not AXE.exists():
        return
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run().then(result => result.violations)")
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
