import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
import zarr
from typer.testing import CliRunner, Result

from tests.served import Served
from warmcast import Client
from warmcast.cli import app
from weather.errors import ForecastFailedError, ServiceProblemError

SMALL: dict[str, Any] = {"model": "untrained", "members": 3, "lead_time": "24h", "seed": 1, "sampler": {"nfe": 2}}


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def _run(served: Served, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--url", served.url], catch_exceptions=False)


def test_a_forecast_is_followed_from_asking_to_the_file(client: Client, tmp_path: Path) -> None:
    forecast = client.submit("nature-run", **SMALL)
    growing = forecast.to_xarray()
    kinds = [kind for kind, _ in forecast.events()]
    assert kinds == ["accepted", "running", *["lead_time"] * 4, "successful"]
    assert forecast.wait(10).status == "successful"
    assert np.isfinite(growing.u10.values).all()
    assert (forecast.to_xarray(summary=True).members == 3).all()
    assert [item.id for item in client.list(limit=1)] == [forecast.id]
    again = forecast.replay(2).wait(60).to_xarray()
    np.testing.assert_array_equal(again.u10, growing.u10.sel(number=[2]))
    path = forecast.download(tmp_path / "ensemble.zip")
    with zarr.storage.ZipStore(path, mode="r") as store:
        xr.testing.assert_identical(xr.open_zarr(store).load(), forecast.to_xarray().load())


def test_files_are_sent(client: Client, gfs_files: list[Path]) -> None:
    forecast = client.submit(gfs_files, idempotency_key="files", **SMALL)
    assert forecast.shown["request"]["sources"] == [path.name for path in gfs_files]
    assert client.submit(gfs_files, idempotency_key="files", **SMALL).id == forecast.id


def test_a_forecast_that_is_called_off_is_told_to_who_waits(client: Client) -> None:
    forecast = client.submit("nature-run", **SMALL | {"lead_time": "360h", "sampler": {"nfe": 40}, "members": 16})
    assert forecast.cancel().status == "dismissed"
    with pytest.raises(ForecastFailedError, match="is dismissed: It was called off"):
        forecast.wait(10)
    with pytest.raises(ServiceProblemError, match="has ended") as caught:
        forecast.cancel()
    assert (caught.value.kind, caught.value.status) == ("/problems/forecast-over", 409)
    with pytest.raises(ServiceProblemError, match="the zip is for successful ones"):
        forecast.download("never.zip")
    assert not list(Path().glob("*never.zip*"))


def test_what_is_refused_names_what_is_wrong(client: Client) -> None:
    with pytest.raises(ServiceProblemError, match=r"`lead_time` must be a positive multiple of 6h"):
        client.submit("nature-run", **SMALL | {"lead_time": "7h"})


def test_events_go_on_after_the_service_was_away(serve: Callable[..., Any]) -> None:
    served = serve()
    told = []
    with Client(served.url) as client:
        forecast = client.submit("nature-run", **SMALL | {"lead_time": "240h", "sampler": {"nfe": 10}})
        for kind, detail in forecast.events():
            told.append((kind, detail.get("lead_times")))
            if len(told) == 5:
                served.kill()
                served.start()
    assert told[2:-1] == [("lead_time", number) for number in range(1, 41)]


def test_nobody_at_the_address_is_one_error() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(httpx.TransportError):
        client.list()
    result = CliRunner().invoke(app, ["list", "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 2
    assert "No service answers at http://127.0.0.1:9" in result.stderr


def test_the_commands_do_the_same(served: Served, gfs_files: list[Path], tmp_path: Path) -> None:
    options = ["--members", 2, "--lead-time", "12h", "--model", "untrained", "--nfe", 2]
    asked = _run(served, "submit", "--initial-state", *gfs_files, *options, "--json")
    assert asked.exit_code == 0, asked.output
    forecast_id = json.loads(asked.stdout)["id"]
    followed = _run(served, "watch", forecast_id)
    assert "successful" in followed.stdout
    assert f"{forecast_id}/ensemble.zarr" in followed.stdout
    assert forecast_id in _run(served, "list").stdout
    assert "2/2 lead times" in _run(served, "status", forecast_id).stdout
    again = _run(served, "replay", forecast_id, "--member", 1, "--json")
    assert json.loads(again.stdout)["request"]["member_numbers"] == [1]
    lean = _run(served, "submit", "--initial-state", "nature-run", *options, "--summary-only", "--json")
    assert json.loads(lean.stdout)["request"]["output"]["members"] is False
    saved = _run(served, "download", forecast_id, "--output", tmp_path / "e.zip")
    assert saved.exit_code == 0
    assert (tmp_path / "e.zip").stat().st_size > 1000
    over = _run(served, "cancel", forecast_id)
    assert (over.exit_code, "has ended" in over.stderr) == (2, True)
