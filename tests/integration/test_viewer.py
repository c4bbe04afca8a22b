"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser
from tests.helpers import wait_until
from tests.served import Served, small_request, write_truth

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
AXE = ROOT / "viewer" / "node_modules" / "axe-core" / "axe.min.js"
STATES = sorted((ROOT / "samples" / "gfs_2018-09-15T00").glob("*.grib2"))
MEMBERS = 4
HOSTILE = "<img src=x onerror=alert(1)> " + 60 * "x"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's Chromium is not installed")


@pytest.fixture(scope="module")
def served(late_served: Served) -> Served:
    return late_served


@pytest.fixture
def browser(served: Served) -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = Browser(playwright, str(CHROMIUM), served.url)
        yield browser
        browser.close()


def test_a_forecast_is_submitted_grows_and_is_read_at_a_place(browser: Browser, served: Served) -> None:
    page = browser.page
    served.wait_for_worker()
    page.goto(f"{served.url}/")
    page.wait_for_selector("#new[open]")
    _submit(browser)
    _check_growth(browser)
    assert browser.num_colors() > 20
    _check_place(page)
    for field in ("member", "spread", "probability", "speed"):
        browser.choose_field(field)
    _check_stamps(page)
    _check_reload(browser)
    _check_keys(browser)
    _check_files(browser, served)
    _check_failure(page, served)
    assert browser.errors == []
    assert browser.foreign == []


def _submit(browser: Browser) -> None:
    page = browser.page
    browser.wait("document.querySelector('#source').options.length > 1")
    states = page.eval_on_selector_all("#source option", "all => all.map(option => [option.text, option.value])")
    page.select_option("#source", next(value for text, value in states if text.startswith("nature-run")))
    page.select_option("#model", "untrained")
    page.fill("#members", str(MEMBERS))
    page.fill("#days", "15")
    page.fill("#seed", "7")
    browser.wait("document.querySelector('#estimate').textContent.includes('on disk')")
    page.click("#submit button[type=submit]")
    page.wait_for_selector("#list li button[aria-current=true]")
    assert page.inner_text("#list li:first-child").startswith("Wed 1 Jul 1987 00:00 UTC")


def _check_growth(browser: Browser) -> None:
    """Wait for the last lead time; the map has followed the forecast to it without a reload."""
    browser.wait("document.querySelector('#valid strong')?.textContent === '+360 h'")
    browser.wait("document.querySelector('#list li').innerText.includes('complete')")
    assert browser.num_drawn() >= 3
    browser.wait("location.hash.includes('t=360')")


def _check_place(page: Any) -> None:
    _click_centre(page)
    assert page.inner_text("#map .reading").splitlines()[0].endswith(" m/s")
    page.wait_for_selector(f"#plume[data-members='{MEMBERS}'] canvas")
    page.wait_for_selector("#rose svg path")
    assert page.inner_text("#place h2").startswith("Wind at 3")
    assert page.inner_text("#plume-values strong") == page.inner_text("#valid").removeprefix("+360 h ")
    page.click("#place summary")
    assert page.locator("#table tbody tr").count() == 1 + 60
    with page.expect_download() as download:
        page.click("#csv")
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) > 1
    assert "wind_speed_10m" in lines[0]


def _click_centre(page: Any) -> None:
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


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
    assert page.is_visible("#no-scores")
    assert not page.is_visible("#scores")
    page.select_option("#field", "speed")


def _check_reload(browser: Browser) -> None:
    page = browser.page
    page.select_option("#units", "kn")
    page.click("#projection")
    browser.wait("location.hash.includes('units=kn') && location.hash.includes('map=flat')")
    before = page.evaluate("location.hash")
    page.reload()
    page.wait_for_selector(f"#plume[data-members='{MEMBERS}'] canvas")
    assert page.evaluate("location.hash") == before
    assert page.inner_text("#valid strong") == "+360 h"
    browser.wait("Number(document.querySelector('#map').dataset.drawn) > 0")
    assert browser.num_colors() > 20


def _check_keys(browser: Browser) -> None:
    page = browser.page
    page.focus("#map")
    page.keyboard.press("ArrowLeft")
    browser.wait("document.querySelector('#valid strong').textContent === '+354 h'")
    page.keyboard.press("Space")
    browser.wait("document.querySelector('#valid strong').textContent === '+360 h'")
    page.keyboard.press("Space")


def _check_files(browser: Browser, served: Served) -> None:
    """Drop a file from which no forecast can start, then two from which one can, and submit it."""
    page = browser.page
    page.click("#new > summary")
    page.select_option("#source", "files")
    page.set_input_files("#files", [{"name": "note.txt", "mimeType": "text/plain", "buffer": b"no weather"}])
    page.wait_for_selector("#inspection .error")
    assert "must be GRIB, NetCDF or Zarr" in page.inner_text("#inspection .error")
    assert page.is_disabled("#submit button[type=submit]")
    browser.errors.clear()  # the browser reports the refusal (415) as an error
    page.set_input_files("#files", STATES[:1])
    page.wait_for_selector("#inspection ul.error")
    assert "needs two frames 6 h apart" in page.inner_text("#inspection ul.error")
    page.set_input_files("#files", STATES)
    page.wait_for_selector("#inspection .good")
    assert "Sat 15 Sept 2018 00:00 UTC" in page.inner_text("#inspection .good")
    assert page.locator("#inspection details[open] li").count() == len(STATES)
    page.select_option("#model", "untrained")
    page.fill("#members", "2")
    page.fill("#days", "0.5")
    browser.wait("document.querySelector('#estimate').textContent.includes('on disk')")
    page.click("#submit button[type=submit]")
    browser.wait("document.querySelector('#list li [aria-current=true]')?.innerText.includes('2018')")
    served.wait(served.client.get("/forecast").json()["forecasts"][0]["id"])


def _check_failure(page: Any, served: Served) -> None:
    request = small_request(members=50, lead_time="360h", deadline_seconds=1)
    failed = served.client.post("/forecast", json=request).json()
    served.wait(failed["id"])
    page.goto(f"{served.url}/view/{failed['id']}")
    page.wait_for_selector("#message.error")
    detail = served.status(failed["id"])["error"]["detail"]
    assert page.inner_text("#message") == f"The forecast failed: {detail}"


@pytest.fixture(scope="module")
def pair(served: Served) -> tuple[str, str]:
    """Two forecasts of equal grids from one initial time, of 48 h and 24 h, of which the second has hostile labels."""
    served.wait_for_worker()
    first = served.submit(lead_time="48h", seed=8)
    second = served.submit(lead_time="24h", seed=9, labels={"note": HOSTILE})
    for forecast in (first, second):
        served.wait(forecast["id"])
    return first["id"], second["id"]


def test_two_forecasts_are_compared(browser: Browser, served: Served, pair: tuple[str, str]) -> None:
    page, (first, second) = browser.page, pair
    page.goto(f"{served.url}/#f={first}&t=12&place=10,50")
    _compare_by_keyboard(browser, second)
    browser.wait("document.querySelector('#plume').dataset.otherMembers === '3'")
    assert browser.num_colors("#map-b") > 20
    page.click("#layout-difference")
    browser.wait("document.querySelector('#caption-a').textContent === 'A +12 h − B +12 h'")
    assert page.is_hidden("#map-b")
    assert page.inner_text("#legend .ticks").split() == ["≤", "−8", "−4", "0", "+4", "≥", "+8"]
    assert browser.num_colors() > 20
    browser.wait("location.hash.includes('show=difference')")
    page.reload()
    browser.wait("document.querySelector('#caption-a').textContent === 'A +12 h − B +12 h'")
    _check_gaps(browser)
    _swap_and_end(browser, first, second)
    assert browser.errors == []
    assert browser.foreign == []


def _compare_by_keyboard(browser: Browser, other: str) -> None:
    page = browser.page
    page.wait_for_selector(f"#list li[data-id={other}]")
    assert HOSTILE in page.inner_text(f"#list li[data-id={other}]")
    assert page.locator("#list img").count() == 0
    page.focus(f"#list li[data-id={other}] .compare")
    page.keyboard.press("Enter")
    browser.wait("document.querySelector('#caption-b').textContent === 'B · +12 h'")
    browser.wait(f"location.hash.includes('with={other}')")


def _check_gaps(browser: Browser) -> None:
    """Go beyond the end of B, which is said, and back by the button."""
    page = browser.page
    page.click("#layout-both")
    page.focus("#map")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    browser.wait(
        "document.querySelector('#note-b').innerText.includes("
        "'B has no lead time that is valid on Fri 3 Jul 1987 00:00 UTC')"
    )
    page.click("#note-b button")
    browser.wait("document.querySelector('#caption-b').textContent === 'B · +24 h'")


def _swap_and_end(browser: Browser, first: str, second: str) -> None:
    page = browser.page
    page.click("#swap")
    browser.wait(f"location.hash.includes('f={second}&with={first}')")
    browser.wait("document.querySelector('#caption-b').textContent === 'B · +24 h'")
    page.click("#end-comparison")
    assert page.is_hidden("#pane-b")
    browser.wait("!location.hash.includes('with=')")


@pytest.mark.campaign
def test_forecasts_that_cannot_be_subtracted_say_why(browser: Browser, served: Served, pair: tuple[str, str]) -> None:
    page, (first, _) = browser.page, pair
    gfs = {"source": "catalogue", "dataset": "gfs", "init_time": "2018-09-15T00"}
    early = served.submit(initial_state=gfs, lead_time="6h", members=2)["id"]
    other_grid = served.submit(model="planet", lead_time="6h", members=1, sampler={"nfe": 1})["id"]
    for forecast in (early, other_grid):
        served.wait(forecast)
    page.goto(f"{served.url}/#f={first}&with={early}&t=6")
    page.wait_for_selector("#note-b:not([hidden])")
    browser.wait("document.querySelector('#note-b').innerText.includes('no valid time in common')")
    page.goto(f"{served.url}/#f={first}&with={other_grid}&t=6&show=difference")
    browser.wait("document.querySelector('#note-a').innerText.includes('A difference needs equal grids')")
    page.goto(f"{served.url}/#f={first}&with=fc_missing&t=6&show=both")
    browser.wait("document.querySelector('#note-b').innerText.includes('fc_missing')")


@pytest.mark.campaign
def test_scores_are_drawn_once_there_are_some(
    browser: Browser, served: Served, pair: tuple[str, str], tmp_path: Path
) -> None:
    page, (first, _) = browser.page, pair
    truth = write_truth(tmp_path, served.status(first))
    path = f"/forecast/{first}/verify"
    served.client.post(
        path, data={"reference": "waves"}, files={"truth": truth.read_bytes()}, timeout=120
    ).raise_for_status()
    page.goto(f"{served.url}/#f={first}&t=6")
    page.click("#quality summary")
    page.wait_for_selector("#crps-plot canvas")
    assert not page.is_visible("#no-scores")
    assert page.inner_text("#crps-key").split() == ["forecast", "persistence"]
    assert page.input_value("#reference") == "waves"
    assert browser.errors == []


def test_schedules_are_made_paused_opened_and_deleted(browser: Browser, served: Served) -> None:
    page, small = browser.page, {"model": "untrained", "members": 2, "lead_time": "6h", "sampler": {"nfe": 2}}
    served.wait_for_worker()
    past = {"name": "hindcast", "dataset": "nature-run", "start": "1987-07-01", "stop": "1987-07-01", "forecast": small}
    schedule = served.client.post("/schedules", json=past).raise_for_status().json()["id"]
    latest = f"/schedules/{schedule}/latest"
    wait_until(lambda: served.client.get(latest).status_code == 200, describe=lambda: served.client.get(latest).text)
    page.goto(f"{served.url}/")
    page.click("#schedules > summary")
    card = f"#schedule-list li[data-id={schedule}]"
    page.wait_for_selector(card)
    assert "Last: Wed 1 Jul 1987 00:00 UTC · complete" in page.inner_text(card)
    page.click(f"{card} summary")
    page.wait_for_selector(f"{card} .runs button")
    page.click(f"{card} .open")
    browser.wait(f"location.hash.includes('f={served.client.get(latest).json()['id']}')")
    browser.wait("document.querySelector('#attribution').innerText.includes('Warmcast, Apache-2.0')")
    page.click(f"{card} .pause")
    page.click(f"{card} .resume")
    page.wait_for_selector(f"{card} .pause")
    _make_schedule(browser)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click(f"{card} .delete")
    page.wait_for_selector(card, state="detached")
    assert browser.errors == []
    assert browser.foreign == []


def _make_schedule(browser: Browser) -> None:
    """Make a schedule; a second one of the same name is refused in place."""
    page = browser.page
    page.click("#schedule-form > summary")
    for _ in range(2):
        page.fill("#schedule-name", HOSTILE)
        page.select_option("#schedule-dataset", "nature-run")
        page.select_option("#schedule-model", "untrained")
        page.click("#new-schedule button[type=submit]")
        page.wait_for_selector("#schedule-list li:nth-child(2)")
        if page.is_hidden("#schedule-name"):
            page.click("#schedule-form > summary")
    assert "nature-run, every 12 h" in page.inner_text("#schedule-list li:first-child")
    assert HOSTILE in page.inner_text("#schedule-list li:first-child")
    page.wait_for_selector("#schedule-error:not([hidden])")
    browser.errors.clear()  # the browser reports the refusal (409) as an error


def test_late_data_sets_and_failed_cycles_are_said_in_place(browser: Browser, served: Served) -> None:
    page = browser.page
    served.wait_for_worker()
    forecast = {"model": "untrained", "members": 50, "lead_time": "360h", "deadline_seconds": 1}
    body = {
        "name": "in vain",
        "dataset": "nature-run",
        "start": "1987-07-01",
        "stop": "1987-07-01",
        "forecast": forecast,
    }
    address = f"/schedules/{served.client.post('/schedules', json=body).raise_for_status().json()['id']}"
    wait_until(lambda: (served.client.get(address).json()["last_run"] or {}).get("forecast_status") == "failed")
    page.goto(f"{served.url}/")
    browser.wait("document.querySelector('#dataset-troubles').textContent === '1 late, 1 not reached'")
    page.click("#datasets > summary")
    text = page.inner_text("#dataset-list")
    assert "the newest analysis should be no older than 9 h. The origin is reached" in text
    assert "The folder of data set away cannot be read." in text
    assert page.locator("#source option", has_text="office, ").text_content().endswith(" old")
    browser.wait("document.querySelector('#schedule-troubles').textContent.includes('late or failed')")
    page.click("#schedules > summary")
    card = f"#schedule-list li[data-id={address.rpartition('/')[2]}]"
    browser.wait(f"document.querySelector('{card}').innerText.includes('failed: It had not ended 1 s after')")
    served.client.delete(address).raise_for_status()
    assert browser.errors == []


def test_a_late_chunk_is_not_drawn_over_a_newer_one(browser: Browser, served: Served, pair: tuple[str, str]) -> None:
    page, (first, _) = browser.page, pair
    page.goto(f"{served.url}/#f={first}&t=0")
    browser.wait("document.querySelector('#map').dataset.lead === 'analysis'")
    held: list[Any] = []
    page.route("**/wind_speed_10m_mean/c.0.5.*", lambda route: held.append(route))
    _go(page, 6)
    browser.wait("document.querySelector('#stage').classList.contains('late')")
    _go(page, 4)
    browser.wait("document.querySelector('#map').dataset.lead === '+24 h'")
    drawn = browser.num_drawn()
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    assert page.get_attribute("#map", "data-lead") == "+24 h"
    assert browser.num_drawn() == drawn


def _go(page: Any, index: int) -> None:
    page.evaluate(
        "index => { const slider = document.querySelector('#slider'); slider.value = index;"
        " slider.dispatchEvent(new Event('input')); }",
        index,
    )


@pytest.mark.campaign
def test_a_forecast_that_is_deleted_and_a_service_that_ends_are_said(browser: Browser, served: Served) -> None:
    page = browser.page
    forecast = served.submit(lead_time="48h", members=2)["id"]
    served.wait(forecast)
    page.goto(f"{served.url}/#f={forecast}&t=6")
    browser.wait("document.querySelector('#map').dataset.lead === '+6 h'")
    served.client.delete(f"/forecast/{forecast}").raise_for_status()
    _go(page, 8)
    browser.wait("document.querySelector('#message').innerText.includes('data of this forecast is deleted')")
    page.route("**/forecast?*", lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    browser.wait("document.querySelector('#list-error').innerText.includes('does not answer')")


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: run `npm ci` in viewer/")
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_no_serious_violation(browser: Browser, served: Served, pair: tuple[str, str], width: int) -> None:
    page, (first, second) = browser.page, pair
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{served.url}/#f={first}&with={second}&t=12&place=10,50")
    browser.wait("document.querySelector('#plume').dataset.otherMembers === '3'")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run().then(result => result.violations)")
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert serious == [], scheme
