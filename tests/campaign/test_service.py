"""Kill the service at random during requests, and send it damaged files; each forecast is computed once.

One kill in an ordinary run; `make campaign` sets many.
"""

import itertools
import json
import logging
import random
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

from models.testing import tiny_spec
from service.initial_states import PARSING_SECONDS
from tests.campaign.abuse import Target, check_health
from tests.helpers import wait_until
from tests.inputs import grib_messages, write_netcdf, write_zipped_zarr
from tests.served import Served
from weather.testing import travelling_waves

Serve = Callable[..., Served]
_CLIENTS = 3


def _request_until_answered(served: Served, method: str, path: str, **more: Any) -> httpx.Response:
    """Repeat a request until it is answered, as a client does after a broken connection."""
    answers: list[httpx.Response] = []
    wait_until(
        lambda: answers.append(served.client.request(method, path, **more)) or answers,
        120,
        ignoring=(httpx.TransportError,),
    )
    return answers[0]


def test_a_repeatedly_killed_service_computes_each_forecast_once(request: pytest.FixtureRequest, serve: Serve) -> None:
    kills = int(request.config.getoption("--kills"))
    served, draw = serve(max_attempts="10"), random.Random(1987)
    body = {
        "model": "untrained",
        "initial_state": {"source": "catalogue", "dataset": "nature-run"},
        "members": 3,
        "lead_time": "120h",
        "sampler": {"nfe": 4},
    }
    keys: dict[str, str] = {}
    for index in range(kills):
        killed = served.kill_after(draw.uniform(0.1, 4.0))
        key = {"Idempotency-Key": f"forecast {index}".replace(" ", "-")}
        answer = _request_until_answered(served, "POST", "/forecast", json=body | {"seed": index}, headers=key)
        assert answer.status_code in (200, 202), answer.text
        keys[answer.json()["id"]] = key["Idempotency-Key"]
        killed.join()
    assert len(keys) == kills
    for forecast_id in keys:
        assert served.wait(forecast_id, 60 + 15 * kills)["status"] == "successful"
        events = served.client.get(f"/forecast/{forecast_id}/events").text.splitlines()
        kinds = [line.removeprefix("event: ") for line in events if line.startswith("event: ")]
        kinds = [kind for kind in kinds if kind not in {"worker_lost", "retry"}]
        assert kinds == ["accepted", "running", *["lead_time"] * 20, "successful"]
        ensemble = xr.open_zarr(f"{served.url}/forecast/{forecast_id}/ensemble.zarr")
        assert np.isfinite(ensemble.u10).all()
    listed = served.client.get("/forecast", params={"limit": 200}).json()["forecasts"]
    assert {forecast["id"] for forecast in listed} == set(keys)


def _contents(forecast: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """Return files from which a forecast can start and which are a truth of another one, in each form."""
    start = np.datetime64(forecast["init_time"], "s")
    waves = travelling_waves(tiny_spec().grid.grid, [start + np.timedelta64(hours, "h") for hours in (-6, 0, 6, 12)])
    netcdf = write_netcdf(waves, folder / "waves.nc")
    write_netcdf(waves, folder / "waves3.nc", engine="scipy")
    with zipfile.ZipFile(folder / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(netcdf, "waves.nc")
    return {
        "GRIB": b"".join(grib_messages(waves)),
        "NetCDF 4": netcdf.read_bytes(),
        "NetCDF 3": (folder / "waves3.nc").read_bytes(),
        "Zarr": write_zipped_zarr(waves, folder / "zarr.zip").read_bytes(),
        "zip": (folder / "packed.zip").read_bytes(),
    }


def _damage(content: bytes, seed: str) -> bytes:
    """Return a file with bytes replaced, removed, repeated or cut off, mostly in its first kilobytes."""
    draw, damaged = random.Random(seed), bytearray(content)
    for _ in range(draw.choice([1, 4, 64])):
        size = min(len(damaged), draw.choice([64, 4096, len(damaged)])) - 1
        place, length = draw.randint(0, max(size, 0)), draw.choice([1, 1, 1, 2, 8, 100])
        kind = draw.choice(["set", "set", "set", "flip", "extreme", "remove", "repeat"])
        part = damaged[place : place + length]
        replacements = {
            "set": draw.randbytes(len(part)),
            "flip": bytes(byte ^ 1 << draw.randrange(8) for byte in part),
            "extreme": draw.choice([b"\x00", b"\xff", b"\x7f"]) * len(part),
            "remove": b"",
            "repeat": bytes(part) * 2,
        }
        damaged[place : place + length] = replacements[kind]
    return bytes(damaged[: draw.randrange(len(damaged) + 1)] if draw.random() < 0.05 else damaged)


class _Uploads:
    """Uploads of damaged files to both routes; a refusal for the moment is repeated."""

    def __init__(self, served: Served, forecast_id: str, contents: dict[str, bytes]) -> None:
        self._contents = contents
        self.client = httpx.Client(base_url=served.url, timeout=PARSING_SECONDS + 60)
        submission = json.dumps({"model": "untrained", "initial_state": {"source": "upload"}})
        self._routes = {
            "forecast": ("/forecast?validate_only=true", "initial_state", {"request": submission}),
            "verify": (f"/forecast/{forecast_id}/verify", "truth", {"reference": "damaged"}),
        }
        self.statuses: Counter[int] = Counter()
        self.seconds: dict[str, float] = {}

    def send(self, case: tuple[int, str, str]) -> None:
        """Send one damaged file; its number, form and route determine it, and are named if it is answered wrongly."""
        number, form, route = case
        seed = f"{form} {number}"
        path, name, texts = self._routes[route]
        files = [(name, (form, _damage(self._contents[form], seed)))]
        answers = [self.client.post(path, files=files, data=texts)]
        while answers[-1].status_code == 429:
            time.sleep(0.2)
            answers.append(self.client.post(path, files=files, data=texts))
        answer = answers[-1]
        self.statuses[answer.status_code] += 1
        self.seconds[f"{seed} to {route}"] = answer.elapsed.total_seconds()
        assert answer.status_code in (200, 413, 415, 422), f"{seed!r} to {route}: {answer.status_code} {answer.text}"


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore:Duplicate name")  # of members that Zarr rewrites
def test_many_damaged_files_neither_stop_nor_slow_the_service(
    request: pytest.FixtureRequest, serve: Serve, tmp_path: Path
) -> None:
    mutants = int(request.config.getoption("--mutants"))
    served = serve()
    served.client.timeout = PARSING_SECONDS
    forecast = served.submit(members=2, lead_time="12h")
    served.wait(forecast["id"], 300)
    uploads = _Uploads(served, forecast["id"], _contents(forecast, tmp_path))
    forms, routes = _contents(forecast, tmp_path), ("forecast", "verify")
    cases = [(number, form, route) for number in range(mutants) for form in forms for route in routes]
    if mutants == 1:  # each form to one of the routes
        cases = [(0, form, route) for form, route in zip(forms, itertools.cycle(routes), strict=False)]
    target = Target(served, ("", ""))
    first, rest = cases[: len(cases) // 5 + 1], cases[len(cases) // 5 + 1 :]
    with uploads.client, ThreadPoolExecutor(_CLIENTS) as threads:
        list(threads.map(uploads.send, first))
        memory, files, children = target.memory(), target.open_files(), len(target.children())
        list(threads.map(uploads.send, rest))
    slowest = sorted(uploads.seconds.items(), key=lambda item: -item[1])[:3]
    logging.getLogger(__name__).warning(
        "%d damaged files: %s; %d MB more memory; the slowest: %s",
        len(cases),
        dict(uploads.statuses),
        (target.memory() - memory) // 10**6,
        ", ".join(f"{name} {seconds:.1f} s" for name, seconds in slowest),
    )
    check_health(target)
    assert target.memory() < memory + 100_000_000
    assert target.open_files() <= files + 10
    assert len(target.children()) <= children + 2
    assert served.wait(served.submit()["id"], 300)["status"] == "successful"
