"""The client and the remote commands against a real service."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from typer.testing import CliRunner, Result

from tests.served import Served, write_truth
from warmcast import AsyncClient, Client, ForecastFailedError, ServiceProblemError, datasets
from warmcast.cli import app

SMALL: dict[str, Any] = {"model": "untrained", "members": 3, "lead_time": "24h", "seed": 1, "nfe": 2}
LARGE: dict[str, Any] = SMALL | {"members": 16, "lead_time": "360h", "nfe": 40}
KINDS = ["accepted", "running", *["lead_time"] * 4, "successful"]


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def _run(served: Served, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--url", served.url], catch_exceptions=False)


def test_a_forecast_is_followed_from_its_submission_to_a_file(client: Client, tmp_path: Path) -> None:
    forecast = client.submit("nature-run", **SMALL)
    assert forecast.info["request"]["sampler"]["nfe"] == 2
    growing = forecast.to_xarray()
    assert [kind for kind, _ in forecast.events()] == KINDS
    assert forecast.wait(10).status == "successful"
    assert np.isfinite(growing.u10.values).all()
    assert (forecast.to_xarray(summary=True).members == 3).all()
    assert [item.id for item in client.list(limit=1)] == [forecast.id]
    again = forecast.replay(2).wait(60).to_xarray()
    np.testing.assert_array_equal(again.u10, growing.u10.sel(number=[2]))
    path = forecast.download(tmp_path / "ensemble.zip")
    with zarr.storage.ZipStore(path, mode="r") as store:
        xr.testing.assert_identical(xr.open_zarr(store).load(), forecast.to_xarray().load())
    assert [path.name for path in tmp_path.iterdir()] == ["ensemble.zip"]


@pytest.mark.parametrize("has_dask", [True, False])
def test_an_open_dataset_reads_new_lead_times(has_dask: bool, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_dask:
        monkeypatch.setattr(datasets, "find_spec", lambda _: None)
    forecast = client.submit("nature-run", **SMALL | {"lead_time": "120h", "nfe": 20})
    growing, counts = forecast.to_xarray(), list[int]()
    assert (growing.u10.chunks is not None) is has_dask
    for kind, detail in forecast.events():
        if kind == "lead_time":
            finite = np.isfinite(growing.u10.isel(longitude=0, latitude=0)).all("number")
            counts.append(int(finite.sum()))
            assert counts[-1] >= detail["lead_times"]
    assert counts[-1] == 20
    assert len(set(counts)) > 1


def test_receipt_plots_scores_and_diagnostics_are_available_until_the_data_is_deleted(
    client: Client, served: Served, tmp_path: Path
) -> None:
    forecast = client.submit("nature-run", **SMALL).wait(60)
    assert forecast.receipt()["request"]["seed"] == 1
    for picture in (forecast.maps("6h", "24h"), forecast.plume(51.5, 0.0)):
        assert picture.startswith(b"\x89PNG")
    verification = forecast.verify(write_truth(tmp_path, forecast.info), reference="waves")
    assert verification["reference"] == "waves"
    diagnostics = forecast.diagnostics()
    assert [item["reference"] for item in diagnostics["verifications"]] == ["waves"]
    assert [*diagnostics["lead_times"]] == ["6", "12", "18", "24"]
    forecast.delete()
    assert forecast.refresh().info["data"] == "deleted"
    with pytest.raises(ServiceProblemError) as caught:
        forecast.to_xarray()
    assert caught.value.kind == "/problems/data-gone"


def test_checkpoints_catalogue_and_plans_are_available(client: Client) -> None:
    assert "untrained" in [model["id"] for model in client.models()]
    assert client.model("untrained")["variables"] == ["u10", "v10"]
    assert "nature-run" in [state["dataset"] for state in client.catalogue()]
    plan = client.plan("nature-run", **SMALL)
    assert plan["request"]["lead_time"] == "24h"
    assert plan["uncompressed_bytes"] > 0


def test_files_are_sent(client: Client, gfs_files: list[Path]) -> None:
    forecast = client.submit(gfs_files, idempotency_key="files", **SMALL)
    assert forecast.info["request"]["initial_state"] == {"source": "forecast", "id": forecast.id}
    assert forecast.wait(60).receipt()["request"]["sources"] == [path.name for path in gfs_files]
    assert client.submit(gfs_files, idempotency_key="files", **SMALL).id == forecast.id


def test_waiting_for_a_cancelled_forecast_is_an_error(client: Client) -> None:
    forecast = client.submit("nature-run", **LARGE)
    assert forecast.cancel().status == "dismissed"
    with pytest.raises(ForecastFailedError, match="was cancelled"):
        forecast.wait(10)
    with pytest.raises(ServiceProblemError, match="has ended") as caught:
        forecast.cancel()
    assert (caught.value.kind, caught.value.status) == ("/problems/forecast-over", 409)
    with pytest.raises(ServiceProblemError):
        forecast.download("never.zip")
    assert not list(Path().glob("*never.zip*"))


def test_a_refused_request_names_the_wrong_field(client: Client) -> None:
    with pytest.raises(ServiceProblemError, match=r"`lead_time` must be a positive multiple of 6h"):
        client.submit("nature-run", **SMALL | {"lead_time": "7h"})


def test_events_continue_after_the_service_was_restarted(serve: Callable[..., Any]) -> None:
    served = serve()
    events = []
    with Client(served.url) as client:
        forecast = client.submit("nature-run", **SMALL | {"lead_time": "240h", "nfe": 10})
        for kind, detail in forecast.events():
            events.append((kind, detail.get("lead_times")))
            if len(events) == 5:
                served.kill()
                served.start()
    assert [event for event in events[2:-1] if event[0] != "worker_lost"] == [("lead_time", n) for n in range(1, 41)]


def test_the_asynchronous_client_does_the_same(served: Served, tmp_path: Path) -> None:
    async def follow(client: AsyncClient, seed: int) -> list[str]:
        forecast = await client.submit("nature-run", **SMALL | {"seed": seed})
        kinds = [kind async for kind, _ in forecast.events()]
        await forecast.wait(10)
        path = await forecast.download(tmp_path / f"{seed}.zip")
        dataset = await forecast.to_xarray()
        with zarr.storage.ZipStore(path, mode="r") as store:
            xr.testing.assert_identical(xr.open_zarr(store).load(), dataset.load())
        assert (await forecast.receipt())["request"]["seed"] == seed
        return kinds

    async def main() -> None:
        async with AsyncClient(served.url) as client:
            assert "untrained" in [model["id"] for model in await client.models()]
            assert await asyncio.gather(*(follow(client, seed) for seed in (11, 12))) == [KINDS, KINDS]
            first, second = await client.list(limit=2)
            assert {first.info["request"]["seed"], second.info["request"]["seed"]} == {11, 12}
            replayed = await (await first.replay(1)).wait(60)
            assert replayed.info["request"]["members"] == [1]
            large = await client.submit("nature-run", **LARGE)
            with pytest.raises(ForecastFailedError, match="was cancelled"):
                await (await large.cancel()).wait(10)

    asyncio.run(main())


def test_the_commands_do_the_same(served: Served, gfs_files: list[Path], tmp_path: Path) -> None:
    options = ["--members", 2, "--lead-time", "12h", "--model", "untrained", "--nfe", 2]
    submitted = _run(served, "submit", "--initial-state", *gfs_files, *options, "--json")
    assert submitted.exit_code == 0, submitted.output
    forecast_id = json.loads(submitted.stdout)["id"]
    followed = _run(served, "watch", forecast_id)
    assert "successful" in followed.stdout
    assert f"{forecast_id}/ensemble.zarr" in followed.stdout
    assert forecast_id in _run(served, "list").stdout
    assert "2/2 lead times" in _run(served, "status", forecast_id).stdout
    again = _run(served, "replay", forecast_id, "--member", 1, "--json")
    assert json.loads(again.stdout)["request"]["members"] == [1]
    lean = _run(served, "submit", "--initial-state", "nature-run", *options, "--summary-only", "--json")
    assert json.loads(lean.stdout)["request"]["output"]["members"] is False
    saved = _run(served, "download", forecast_id, "--output", tmp_path / "e.zip")
    assert saved.exit_code == 0
    assert (tmp_path / "e.zip").stat().st_size > 1000
    missing = _run(served, "download", forecast_id, "--output", tmp_path / "missing/e.zip")
    assert missing.exit_code == 3
    assert missing.stderr == f"Error: The folder `{tmp_path}/missing` does not exist. Create it, or choose another.\n"
    missing_state = _run(served, "plan", "nowhere", *options)
    assert (missing_state.exit_code, "nowhere" in missing_state.stderr) == (2, True)
    over = _run(served, "cancel", forecast_id)
    assert (over.exit_code, "has ended" in over.stderr) == (2, True)


def test_the_results_of_a_forecast_are_printed_and_saved(client: Client, served: Served, tmp_path: Path) -> None:
    forecast = client.submit("nature-run", members=10, lead_time="12h", model="untrained", nfe=2, seed=3).wait(60)
    place = ["position", forecast.id, "--at", "-0.1,51.5"]
    table = _run(served, *place, "--name", "u10", "--exceedance", "u10>-500", "--units", "kn").stdout
    assert "u10 (kn) at -0.1, 51.5" in table
    assert [line.split()[-1] for line in table.splitlines()[1:5]] == ["P(>-500)", "100%", "100%", "100%"]
    assert "2 further members" in _run(served, *place, "--members", "--name", "u10").stdout
    members = json.loads(_run(served, *place, "--members", "--json").stdout)["positions"][0]["values"]["u10"]
    assert [len(row) for row in members] == [10, 10, 10]
    assert _run(served, *place, "-o", tmp_path / "x.csv").exit_code == 0
    assert (tmp_path / "x.csv").read_text().startswith("longitude,latitude,lead_hours,valid_time,num_finite,u10_mean")
    assert _run(served, *place, "-o", tmp_path / "x.xlsx").exit_code == 3
    assert _run(served, "open", forecast.id, "--only-url").stdout.strip() == forecast.ensemble_url
    opened = _run(served, "open", forecast.id, "--summary").stdout
    assert "u10_mean" in opened
    assert f'xarray.open_zarr("{forecast.summary_url}")' in opened
    zip_path, home = tmp_path / "first.zarr.zip", f"{served.url}/v1/forecast/{forecast.id}"
    assert _run(served, "download", forecast.id, "--first", 1, "-o", zip_path).exit_code == 0
    opened_zip = json.loads(_run(served, "open", zip_path, "--json").stdout)
    frozen = json.loads(_run(served, "open", forecast.id, "--first", 1, "--json").stdout)
    assert (opened_zip["path"], frozen["url"]) == (str(zip_path), f"{home}/as-of/1/ensemble.zarr")
    assert "lead_time: 1" in opened_zip["contents"]
    assert opened_zip["contents"].splitlines()[:2] == frozen["contents"].splitlines()[:2]
    assert json.loads(_run(served, "open", f"{home}/as-of/1/ensemble.zarr.zip", "--json").stdout) == frozen
    assert "ZipStore" in _run(served, "open", zip_path).stdout
    zip_path.write_bytes(zip_path.read_bytes()[:-30])
    for wrong, reason in ((zip_path, "whole zip"), (tmp_path / "none.zip", "missing"), ("http://a/x.zip", "address")):
        refused = _run(served, "open", wrong)
        assert (refused.exit_code, reason in refused.stderr) == (2, True), refused.output
    truth = write_truth(tmp_path, forecast.info)
    wanted = _run(served, "verify", forecast.id, "--truth", truth)
    assert (wanted.exit_code, "--reference" in wanted.stderr) == (2, True)
    scores = _run(
        served, "verify", forecast.id, "--truth", truth, "--reference", "waves", "--json", tmp_path / "s.json"
    )
    assert "CRPS" in scores.stdout, scores.output
    assert json.loads((tmp_path / "s.json").read_text())["reference"] == "waves"
    assert "Scores against waves" in _run(served, "diagnostics", forecast.id).stdout
    assert "seed: 3" in _run(served, "receipt", forecast.id).stdout
    assert "data: deleted" in _run(served, "delete", forecast.id, "--yes").stdout
    gone = _run(served, *place)
    assert (gone.exit_code, gone.stdout, "deleted" in gone.stderr) == (2, "", True)
