"""A page of the service in Debian's Chromium, for tests."""

from typing import Any

from tests.helpers import wait_until

SLOW_SECONDS = 60_000
COLORS = """map => {
  const canvas = document.querySelector(`${map} canvas`);
  const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size;
}"""


class Browser:
    """A page of the browser, with the errors in its console and the requests to other hosts."""

    def __init__(self, playwright: Any, chromium: str, url: str) -> None:
        self._browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        self.page = self._browser.new_page(viewport={"width": 1200, "height": 800}, reduced_motion="reduce")
        self.page.set_default_timeout(SLOW_SECONDS)
        self.url = url
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

    def choose_field(self, field: str) -> None:
        """Choose a field and wait until the map shows it."""
        drawn = self.num_drawn()
        self.page.select_option("#field", field)
        self.wait(f"Number(document.querySelector('#map').dataset.drawn) > {drawn}")

    def num_drawn(self) -> int:
        """Return how often a field has been drawn on the map."""
        return int(self.page.get_attribute("#map", "data-drawn") or 0)

    def close(self) -> None:
        """Close the browser."""
        self._browser.close()

    def num_colors(self, element: str = "#map") -> int:
        """Return the number of different colours in the field of a map."""
        return int(self.page.evaluate(COLORS, element))

    def wait(self, condition: str) -> None:
        """Wait until an expression is true. The policy of the page forbids the way of Playwright."""
        wait_until(lambda: self.page.evaluate(condition), describe=lambda: self.page.inner_text("body"))
