"""A client of the service: ask for forecasts, follow them, open their ensembles while they grow."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import xarray as xr

from weather.errors import ForecastFailedError, ServiceProblemError

DEFAULT_URL = "http://127.0.0.1:8000"
_FINAL = {"successful", "failed", "dismissed"}
_TRIES, _FIRST_WAIT, _LONGEST_WAIT = 5, 0.2, 30.0
_BLOCK = 1 << 20


class Client:
    """A connection to a service.

    `url` is `WARMCAST_URL` by default, else this machine's port 8000; `key` is an API key, `WARMCAST_KEY` by default.
    What the service refuses is a `ServiceProblemError`. A connection that fails is tried again where that is harmless.
    """

    def __init__(self, url: str | None = None, *, key: str | None = None, timeout_seconds: float = 60.0) -> None:
        self.url = (url or os.environ.get("WARMCAST_URL") or DEFAULT_URL).rstrip("/")
        key = key or os.environ.get("WARMCAST_KEY")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=f"{self.url}/v1", timeout=timeout_seconds, headers=self.headers)

    def __enter__(self) -> Self:
        """Return this client, which closes at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._http.close()

    def submit(
        self,
        initial_state: str | Path | Sequence[str | Path] = "gfs",
        *,
        init_time: str | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> "RemoteForecast":
        """Ask for a forecast from a catalogue's data set, or from one or two files, and return it.

        `fields` are those of `POST /forecast`: `members`, `lead_time`, `seed`, `model`, `sampler`,
        `summary`,
        `output`, `deadline_seconds`, `priority`.
        """
        given = [initial_state] if isinstance(initial_state, str | Path) else list(initial_state)
        files = [Path(item) for item in given if Path(item).is_file()]
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        if files and len(files) == len(given):
            body = {"initial_state": _source("upload", init_time), **fields}
            with ExitStack() as stack:
                parts = [("initial_state", (path.name, stack.enter_context(path.open("rb")))) for path in files]
                response = self._http.post(
                    "/forecast", data={"request": json.dumps(body)}, files=parts, headers=headers
                )
        else:
            body = {"initial_state": _source("catalogue", init_time, dataset=str(given[0])), **fields}
            response = self._http.post("/forecast", json=body, headers=headers)
        return RemoteForecast(self, _checked(response).json())

    def forecast(self, forecast_id: str) -> "RemoteForecast":
        """Return a forecast by its id."""
        return RemoteForecast(self, self.get(f"/forecast/{forecast_id}").json())

    def replay(self, forecast_id: str, members: Sequence[int], idempotency_key: str | None = None) -> "RemoteForecast":
        """Ask for members of a forecast again, exactly as they were, and return the forecast of these."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        response = self._http.post(f"/forecast/{forecast_id}/replay", json={"members": [*members]}, headers=headers)
        return RemoteForecast(self, _checked(response).json())

    def list(self, status: str | None = None, limit: int = 50) -> "list[RemoteForecast]":
        """Return the newest forecasts."""
        asked = {"limit": limit} | ({"status": status} if status else {})
        return [RemoteForecast(self, shown) for shown in self.get("/forecast", asked).json()["forecasts"]]

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> httpx.Response:
        """Return an answer of the service, tried again where it is not reached."""
        for tried in range(_TRIES):
            try:
                return _checked(self._http.get(path, params=parameters))
            except httpx.TransportError:
                if tried + 1 == _TRIES:
                    raise
                time.sleep(_FIRST_WAIT * 2**tried)
        raise AssertionError

    def delete(self, path: str, parameters: Mapping[str, Any] | None = None) -> httpx.Response:
        """Return the answer to a DELETE."""
        return _checked(self._http.delete(path, params=parameters))

    def stream(self, path: str, headers: Mapping[str, str]) -> Any:
        """Return the context of an answer that comes in parts."""
        return self._http.stream("GET", path, headers=dict(headers), timeout=httpx.Timeout(60, read=None))


class RemoteForecast:
    """A forecast of the service; `shown` is what it last said of it."""

    def __init__(self, client: Client, shown: dict[str, Any]) -> None:
        self._client = client
        self.shown = shown
        self.id: str = shown["id"]

    @property
    def status(self) -> str:
        """The status that was last seen: accepted, running, successful, failed or dismissed."""
        return str(self.shown["status"])

    @property
    def ensemble_url(self) -> str:
        """URL of the ensemble, which `xarray.open_zarr` opens."""
        return f"{self._client.url}/v1/forecast/{self.id}/ensemble.zarr"

    @property
    def summary_url(self) -> str:
        """URL of the summary, which `xarray.open_zarr` opens."""
        return f"{self._client.url}/v1/forecast/{self.id}/summary.zarr"

    def refresh(self) -> Self:
        """Ask how far it is."""
        self.shown = self._client.get(f"/forecast/{self.id}").json()
        return self

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each event, kind and detail, from the first to the end; a connection that breaks is taken up again."""
        last, failures = "0", 0
        while failures < _TRIES:
            try:
                with self._client.stream(f"/forecast/{self.id}/events", {"Last-Event-ID": last}) as response:
                    if response.is_error:
                        response.read()
                    for event in _events(_checked(response).iter_lines()):
                        last, failures = event["id"], 0
                        yield event["event"], json.loads(event["data"])
                        if event["event"] in _FINAL:
                            return
            except httpx.TransportError:
                failures += 1
                time.sleep(_FIRST_WAIT * 2**failures)
        raise ServiceProblemError("/problems/unreachable", 0, f"The service at {self._client.url} is not reached.")

    def wait(self, timeout_seconds: float | None = None) -> Self:
        """Return when it is successful; raises `ForecastFailedError` where it ends otherwise, or `TimeoutError`."""
        ends = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while self.refresh().status not in _FINAL:
            if ends is not None and time.monotonic() > ends:
                raise TimeoutError(f"Forecast {self.id} is {self.status} after {timeout_seconds:g} s.")
            eta = self.shown["progress_detail"]["eta_seconds"]
            time.sleep(min(max((eta or 2.0) / 4, _FIRST_WAIT), _LONGEST_WAIT))
        if self.status != "successful":
            detail = (self.shown["error"] or {}).get("detail", "It was called off.")
            raise ForecastFailedError(f"Forecast {self.id} is {self.status}: {detail}")
        return self

    def to_xarray(self, *, summary: bool = False) -> xr.Dataset:
        """Open the ensemble over HTTP, or its summary, also while it grows: NaN until a lead time is complete."""
        options = {"headers": self._client.headers} if self._client.headers else None
        url = self.summary_url if summary else self.ensemble_url
        dataset: xr.Dataset = xr.open_zarr(url, storage_options=options)
        return dataset

    def download(self, path: str | Path) -> Path:
        """Save the whole ensemble as a zip, which `zarr.storage.ZipStore` opens; it is there whole or not at all."""
        target = Path(path)
        building = target.with_name(f".{target.name}.partial")
        try:
            with (
                self._client.stream(f"/forecast/{self.id}/ensemble.zarr.zip", {}) as response,
                building.open("wb") as file,
            ):
                if response.is_error:
                    response.read()
                for block in _checked(response).iter_bytes(_BLOCK):
                    file.write(block)
            building.replace(target)
        finally:
            building.unlink(missing_ok=True)
        return target

    def replay(self, *members: int, idempotency_key: str | None = None) -> "RemoteForecast":
        """Ask for some of its members again, exactly as they were, and return the forecast of these."""
        return self._client.replay(self.id, members, idempotency_key)

    def cancel(self) -> Self:
        """Call it off; its complete lead times stay. Raises `ServiceProblemError` where it has ended."""
        self.shown = self._client.delete(f"/forecast/{self.id}", {"keep_data": True}).json()
        return self

    def delete(self) -> None:
        """Remove its data where it has ended, or call it off; its record stays."""
        self._client.delete(f"/forecast/{self.id}")


def _source(kind: str, init_time: str | None, **more: str) -> dict[str, str]:
    return {"source": kind, **more} | ({"init_time": init_time} if init_time else {})


def _checked(response: httpx.Response) -> httpx.Response:
    """Return a good answer; raises `ServiceProblemError` for a problem."""
    if response.is_error:
        try:
            problem = response.json()
            raise ServiceProblemError(problem["type"], response.status_code, problem["detail"])
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceProblemError("about:blank", response.status_code, response.text[:500]) from error
    return response


def _events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Yield server-sent events as their fields."""
    event: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event.keys() >= {"event", "id", "data"}:
            yield event
            event = {}
