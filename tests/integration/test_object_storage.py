"""Workers and a service that share a database and a bucket, but no disk."""

import asyncio
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from pydantic import SecretStr

from jobs import retention
from jobs.dispatching.leases import claim
from jobs.errors import LeaseLostError
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.identity_file import read_identity
from jobs.installation import open_installation
from jobs.retention import delete_data, find_lost_folders, sweep_folders
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.settings import Settings
from service.app import create_app
from storage.errors import ConfigurationError, InstallationError
from storage.opening import open_storage
from storage.paths import StoragePath
from tests.clock import MovableClock, movable_clock
from tests.helpers import wait_until
from tests.in_process import run_in_process
from tests.proxy import TcpProxy
from tests.rows import cancel_forecast, commit, create_key, read_forecast
from tests.served import Served, small_request
from tests.servers import PostgresServer, S3Server, free_port
from weather.errors import StoreError
from weather.ingest.exchange import load_initial_state
from weather.stores.ensemble import EnsembleStore
from workers.loop import Worker
from workers.standalone import StandaloneForecast, run_forecast

Submit = Callable[..., ForecastRecord]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def settings(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return Settings.of(data=tmp_path / "own", store=s3_server.new_bucket(), device="cpu", lease_seconds=1)


@pytest.fixture
def bucket(settings: Settings) -> StoragePath:
    return open_storage(settings.storage.data, settings.storage.store)


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[MovableClock]:
    """The clock of the fixture `database`."""
    with movable_clock(f"sqlite:///{tmp_path}/rows.db") as clock:
        yield clock


@pytest.fixture
def database(tmp_path: Path, clock: MovableClock) -> Iterator[Database]:
    result = Database(f"sqlite:///{tmp_path}/rows.db")
    result.migrate()
    yield result
    result.close()


@pytest.fixture
def shared_database(postgres: PostgresServer) -> Iterator[tuple[str, MovableClock]]:
    """The URL of a database that several processes share, and its clock."""
    url = postgres.new_database()
    with movable_clock(url) as clock:
        yield url, clock


def test_a_bucket_belongs_to_one_installation_and_keeps_folders_without_a_row(
    settings: Settings, bucket: StoragePath, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = settings.replace(database_url=f"sqlite:///{tmp_path}/rows.db")
    identity = open_installation(first.storage).identity
    assert open_installation(first.storage).identity == identity == read_identity(bucket)
    other = settings.replace(database_url=f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(InstallationError, match=r"does not exist, but `s3://.*/some/where/` belongs to installation"):
        open_installation(other.storage)
    orphan = bucket / "forecasts/fc_1"
    for name in ("receipt.json", "ensemble.zarr/zarr.json"):
        (orphan / name).write(name.encode())
    monkeypatch.setattr(retention, "ABANDONED_SECONDS", -3600.0)
    assert sweep_folders(database, bucket) == 1
    assert not orphan.exists()
    assert (bucket / "lost/fc_1/ensemble.zarr/zarr.json").read_bytes() == b"ensemble.zarr/zarr.json"
    assert list(find_lost_folders(bucket)) == ["fc_1"]


class _Killed(BaseException):
    """An exception that no part of a worker handles, in place of its sudden end."""


def _die_after(commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a worker between the commit of a lead time and its publication, after `commits` publications."""
    publish, done = EnsembleStore.publish, 0

    def dying(store: EnsembleStore, staged: StoragePath, group: int, lead_index: int) -> None:
        nonlocal done
        done += 1
        if done > commits:
            raise _Killed
        publish(store, staged, group, lead_index)

    monkeypatch.setattr(EnsembleStore, "publish", dying)


def _content(bucket: StoragePath) -> dict[str, bytes]:
    return {name: (bucket / name).read_bytes() for name, _ in bucket.files()}


def _run_alone(record: ForecastRecord, folder: ForecastFolder, checkpoint: Path, output: Path) -> dict[str, bytes]:
    """Compute the same forecast in this process on a disk, and return its files."""
    request = record.request
    state = load_initial_state(folder.initial_state)
    forecast = StandaloneForecast(
        state,
        checkpoint,
        tuple(range(request.members)),
        record.num_lead_times,
        request.group_size,
        request.seed,
        request.sampling,
        torch.device("cpu"),
    )
    store = run_forecast(forecast, output, resume=False, report=lambda _: None).store
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def _without_creation_time(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of a store with the time of its creation removed from its metadata."""
    return files | {"zarr.json": re.sub(rb'"history": "[^"]+ created', b"", files["zarr.json"])}


def _run_until_idle(worker: Worker) -> None:
    wait_until(lambda: not worker.run())


def test_a_second_worker_finishes_the_forecast_of_a_killed_one_without_a_shared_disk(
    settings: Settings,
    bucket: StoragePath,
    shared_database: tuple[str, MovableClock],
    untrained_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, clock = shared_database
    shared = {"store": str(settings.storage.store), "database_url": url, "group_size": "2"}
    api = Served(tmp_path / "api", untrained_checkpoint.parent, command="api", **shared)
    database = Database(url)
    try:
        forecast_id = api.submit()["id"]
        home, folder = f"/forecast/{forecast_id}/ensemble.zarr", ForecastFolder(bucket, forecast_id)
        assert api.client.get(f"{home}/zarr.json").status_code == 200
        assert api.client.get(f"{home}/u10/c.0.0.0.0.0").status_code == 404
        first, second = (
            settings.replace(
                data=tmp_path / name, database_url=SecretStr(url), checkpoints=str(untrained_checkpoint.parent)
            )
            for name in ("first", "second")
        )
        with monkeypatch.context() as dying:
            _die_after(3, dying)
            with pytest.raises(_Killed):
                Worker(first, database).run()
        assert read_forecast(database, forecast_id).lead_times == 2
        assert int(xr.open_zarr(api.url + home).complete.sum()) == 5
        clock.advance(settings.worker.lease_seconds + 1)
        _run_until_idle(Worker(second, database))
        record = read_forecast(database, forecast_id)
        assert record.status == Status.SUCCESSFUL, record.error
        objects = _content(folder.store)
        alone = _run_alone(record, folder, untrained_checkpoint, tmp_path / "alone")
        assert _without_creation_time(objects) == _without_creation_time(alone)
        names = {name.split("/")[0] for name in _content(folder.path)}
        assert names == {"ensemble.zarr", "files.json", "initial_state", "receipt.json", "summary.zarr"}
        _check_reads(api, forecast_id, objects, tmp_path)
        assert api.client.delete(f"/forecast/{forecast_id}").status_code == 204
        assert [name for name, _ in bucket.files()] == ["installation.json"]
        assert api.client.get(f"{home}/zarr.json").status_code == 410
        assert not any((tmp_path / name / "forecasts").exists() for name in ("api", "first", "second"))
    finally:
        database.close()
        api.client.close()
        api.stop()


def _check_reads(api: Served, forecast_id: str, objects: dict[str, bytes], tmp_path: Path) -> None:
    """Check that the service returns objects in a bucket as it returns files on a disk."""
    home, name = f"/forecast/{forecast_id}/ensemble.zarr", "u10/c.0.1.1.0.0"
    chunk, ask = objects[name], api.client.request
    whole = ask("GET", f"{home}/{name}")
    etag = whole.headers["etag"]
    assert (whole.status_code, whole.content) == (200, chunk)
    assert "immutable" in whole.headers["cache-control"]
    last = len(chunk) - 1
    for byte_range, status, content, content_range in (
        ("bytes=2-5", 206, chunk[2:6], f"bytes 2-5/{len(chunk)}"),
        ("bytes=7-", 206, chunk[7:], f"bytes 7-{last}/{len(chunk)}"),
        ("bytes=-4", 206, chunk[-4:], f"bytes {last - 3}-{last}/{len(chunk)}"),
        (f"bytes=0-{10**9}", 206, chunk, f"bytes 0-{last}/{len(chunk)}"),
        (f"bytes={len(chunk)}-", 416, b"", f"bytes */{len(chunk)}"),
        ("bytes=0-1,4-5", 200, chunk, None),
        ("lines=0-1", 200, chunk, None),
    ):
        for method in ("GET", "HEAD"):
            response = ask(method, f"{home}/{name}", headers={"Range": byte_range})
            assert (response.status_code, response.headers.get("content-range")) == (status, content_range)
            assert response.content == (content if method == "GET" else b"")
            assert response.headers["content-length"] == str(len(content))
            assert response.headers["access-control-allow-origin"] == "*"
    for condition, status in ((etag, 206), ('"another"', 200)):
        response = ask("GET", f"{home}/{name}", headers={"Range": "bytes=0-1", "If-Range": condition})
        assert (response.status_code, response.headers["etag"]) == (status, etag)
    assert ask("GET", f"{home}/../receipt.json").status_code == 404
    assert ask("GET", f"{home}/u10").status_code == 404
    ensemble = xr.open_zarr(api.url + home).load()
    assert (ensemble.complete == 1).all()
    zipped = ask("GET", f"{home}.zip")
    assert ask("HEAD", f"{home}.zip").headers["content-type"] == zipped.headers["content-type"] == "application/zip"
    (tmp_path / "e.zip").write_bytes(zipped.content)
    with zarr.storage.ZipStore(tmp_path / "e.zip", mode="r") as store:
        xr.testing.assert_identical(xr.open_zarr(store).load(), ensemble)
    assert ask("GET", f"/forecast/{forecast_id}/plots/plume.png").status_code == 200


def test_a_worker_whose_lease_was_taken_over_cannot_change_the_store(
    settings: Settings, bucket: StoragePath, database: Database, clock: MovableClock, submit_small: Submit
) -> None:
    forecast = submit_small(database, bucket, members=2)
    folder = ForecastFolder(bucket, forecast.id)
    (lease,) = claim(database, "zombie", 30.0, 3)
    zombie = EnsembleStore.open(folder.store)
    staged = zombie.open_staging(folder.attempt(0, lease.epoch))
    wrong = np.full((2, 2, *zombie.layout.grid.shape), 7, np.float32)
    staged.commit(0, 0, wrong)
    clock.advance(31)
    _run_until_idle(Worker(settings, database))
    objects = _content(folder.store)
    staged = zombie.open_staging(folder.attempt(0, lease.epoch))
    for lead_index in range(forecast.num_lead_times):
        staged.commit(0, lead_index, wrong)
        zombie.publish(staged.path, 0, lead_index)
    with pytest.raises(LeaseLostError):
        commit(database, lease, 1, 30)
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL
    assert _content(folder.store) == objects
    assert not (EnsembleStore.open(folder.store).group_fields(0, 0) == 7).any()


def test_concurrent_writers_never_overwrite_an_existing_object(bucket: StoragePath) -> None:
    sources = [bucket / f"staging/{number}" for number in range(8)]
    for number, source in enumerate(sources):
        source.write(str(number).encode())
    (bucket / "target").link_or_copy(sources[3])
    threads = [threading.Thread(target=(bucket / "target").link_or_copy, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (bucket / "target").read_bytes() == b"3"


def test_a_sweep_removes_only_folders_of_forecasts_without_data(
    bucket: StoragePath, database: Database, submit_small: Submit
) -> None:
    gone, kept = (submit_small(database, bucket, seed=seed) for seed in (1, 2))
    cancel_forecast(database, gone.id, "local")
    delete_data(database, bucket, gone.id, "local")
    folder = ForecastFolder(bucket, gone.id)
    assert not folder.path.exists()
    (folder.attempt(0, 1) / "late").write(b"late write of a worker")
    (ForecastFolder(bucket, "fc_young").path / "file").write(b"its row is not inserted yet")
    sweep_folders(database, bucket)
    assert {found.name for found in (bucket / "forecasts").folders()} == {kept.id, "fc_young"}
    with pytest.raises(StoreError, match="is not an ensemble store"):
        EnsembleStore.open(folder.store)
    with pytest.raises(StoreError, match="holds no initial state"):
        load_initial_state(folder.initial_state)


def test_a_store_is_created_once(bucket: StoragePath, database: Database, submit_small: Submit) -> None:
    folder = ForecastFolder(bucket, submit_small(database, bucket).id)
    store = EnsembleStore.open(folder.store)
    with pytest.raises(StoreError, match="already exists"):
        EnsembleStore.create(folder.store, store.layout, {})


def test_object_storage_without_its_extra_names_the_extra(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.opening.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"warmcast\[s3\]"):
        open_storage(settings.storage.data, settings.storage.store)


def test_a_service_that_loses_access_to_its_storage_answers_503(
    settings: Settings, database: Database, submit_small: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = submit_small(database, open_storage(settings.storage.data, settings.storage.store))
    proxy = TcpProxy(int(os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    app = create_app(settings.replace(database_url=SecretStr(f"sqlite:///{tmp_path}/rows.db")), with_worker=False)

    async def ask() -> httpx.Response:
        with ExitStack() as connected:
            connected.enter_context(proxy)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
            ):
                connected.close()
                return await client.get(f"/v1/forecast/{forecast.id}/ensemble.zarr/zarr.json")

    refused = asyncio.run(ask())
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
    assert refused.json()["retryable"]


def test_a_service_without_access_to_its_storage_does_not_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionError, match=r"installation\.json` was not reached"):
        open_installation(settings.storage)


def test_kept_states_and_batches_of_two_keys_are_objects_that_only_their_owners_read_and_delete(
    settings: Settings, bucket: StoragePath, untrained_checkpoint: Path, submit_small: Submit, tmp_path: Path
) -> None:
    database = Database(f"sqlite:///{tmp_path}/rows.db")
    database.migrate()
    keys = [create_key(database, name) for name in ("one", "two")]
    own, other = ({"PRIVATE-TOKEN": secret} for _, secret in keys)
    folder = str(untrained_checkpoint.parent)
    app = create_app(
        settings.replace(database_url=f"sqlite:///{tmp_path}/rows.db", checkpoints=folder), with_worker=False
    )
    source = submit_small(database, bucket, owner=keys[0][0].id, checkpoint="untrained")
    with run_in_process(app) as api:
        made = api.post("/v1/states", json={"source": "forecast", "id": source.id}, headers=own)
        assert made.status_code == 201, made.text
        state = made.json()["id"]
        body = small_request(lead_time="6h", initial_states=[{"source": "state", "id": state}])
        del body["initial_state"]
        batch = api.post("/v1/batch", json=body, headers=own).json()
        part = batch["parts"][0]["id"]
        assert {name.split("/")[1] for name in _content(bucket) if "/" in name} == {source.id, state, part}
        homes = (f"/v1/states/{state}", f"/v1/batch/{batch['id']}")
        stores = (f"{homes[0]}/state.zarr/zarr.json", f"{homes[1]}/ensemble.zarr/zarr.json")
        for path in (*homes, *stores):
            assert api.get(path, headers=own).status_code == 200, path
            assert api.get(path, headers=other).status_code == 404, path
        for path in homes:
            assert api.delete(path, headers=other).status_code == 404, path
        assert api.post("/v1/batch", json=body, headers=other).status_code == 422
        assert api.delete(homes[0], headers=own).status_code == 204
        assert [api.delete(homes[1], headers=own).status_code for _ in range(2)] == [202, 204]
        assert {name.split("/")[1] for name in _content(bucket) if "/" in name} == {source.id}
        assert [api.get(path, headers=own).status_code for path in stores] == [404, 410]
    database.close()
