"""The unmodified client of ECMWF's data stores, against the service: submit, poll, log, download, list, delete."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
from ecmwf.datastores import Client
from ecmwf.datastores.processing import ProcessingFailedError
from requests import HTTPError
from typer.testing import CliRunner

from tests.served import Served, small_request
from warmcast.cli import app


def _inputs(**fields: Any) -> dict[str, Any]:
    inputs = small_request(**fields)
    del inputs["model"]
    return inputs


@pytest.fixture(scope="module")
def keyed(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str, str]]:
    """A service with two keys, and their secrets."""
    folder = tmp_path_factory.mktemp("keyed")
    served = Served(folder / "data", untrained_checkpoint.parent)
    served.wait_for_worker()
    created = [CliRunner().invoke(app, ["key", "create", name, "--data", str(served.data)]) for name in ("a", "b")]
    secrets = [next(word for word in result.stdout.split() if word.startswith("wc_")) for result in created]
    yield served, secrets[0], secrets[1]
    served.client.close()
    served.stop()


def _client(served: Served, key: str, lines: list[str] | None = None) -> Client:
    def log(_level: int, message: str, *_: object) -> None:
        if lines is not None:
            lines.append(message)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a catalogue without messages
        return Client(url=f"{served.url}/api", key=key, progress=False, sleep_max=1, log_callback=log)


@pytest.fixture
def lines() -> list[str]:
    """What the client logs."""
    return []


@pytest.fixture
def client(keyed: tuple[Served, str, str], lines: list[str]) -> Client:
    served, key, _ = keyed
    return _client(served, key, lines)


def test_a_forecast_is_submitted_followed_downloaded_listed_and_deleted(
    keyed: tuple[Served, str, str], client: Client, lines: list[str], tmp_path: Path
) -> None:
    served, key, _ = keyed
    headers = {"PRIVATE-TOKEN": key}
    assert "untrained" in client.get_processes().collection_ids
    assert "initial_state" in client.get_process("untrained").json["inputs"]
    remote = client.submit("untrained", _inputs(members=3))
    assert remote.collection_id == "untrained"
    path = remote.download(str(tmp_path / "forecast.nc"))
    assert remote.status == "successful"
    assert remote.request["members"] == 3
    assert remote.created_at <= remote.started_at <= remote.finished_at <= remote.updated_at
    store = xr.open_zarr(
        f"{served.url}/v1/forecast/{remote.request_id}/ensemble.zarr", storage_options={"headers": headers}
    )
    store = store.isel(init_time=0).load()
    with xr.open_dataset(path) as dataset:
        np.testing.assert_array_equal(dataset.u10.values, store.u10.values)
    logged = [line for line in lines if line in ("The forecast is accepted.", "The forecast is complete.")]
    assert logged == ["The forecast is accepted.", "The forecast is complete."], "each line once"
    assert client.get_receipt(remote.request_id)["request"]["members"] == 3
    assert client.get_results(remote.request_id).content_length == Path(path).stat().st_size
    jobs = client.get_jobs(limit=1, status="successful")
    assert jobs.request_ids == [remote.request_id]
    assert client.delete(remote.request_id)["jobs"][0]["jobID"] == remote.request_id
    assert served.client.get(f"/v1/forecast/{remote.request_id}", headers=headers).json()["data"] == "deleted"


def test_pages_of_jobs_follow_each_other(client: Client) -> None:
    ids = [client.submit("untrained", _inputs(members=1, seed=seed)).request_id for seed in range(3)]
    page = client.get_jobs(limit=2)
    assert page.request_ids == ids[:0:-1]
    following = page.next
    assert following is not None
    assert following.request_ids[0] == ids[0]
    assert client.get_jobs(status=["rejected"]).request_ids == []


def test_a_forecast_that_runs_is_cancelled(client: Client) -> None:
    remote = client.submit("untrained", _inputs(members=16, lead_time="360h", sampler={"nfe": 40}))
    with pytest.raises(HTTPError, match="409"):
        remote._make_results(wait=False)
    assert remote.delete()["status"] == "dismissed"
    with pytest.raises(ProcessingFailedError, match="dismissed"):
        remote.get_results()


def test_the_key_is_verified(keyed: tuple[Served, str, str], client: Client) -> None:
    served, _, _ = keyed
    found = client.check_authentication()
    assert found["id"].startswith("key_")
    assert found == {"id": found["id"], "owner": found["id"], "role": "submitter", "expires": None}
    with pytest.warns(UserWarning, match="unknown or revoked"):
        unknown = Client(url=f"{served.url}/api", key="wc_wrong", progress=False)
    with pytest.raises(HTTPError, match="401"):
        unknown.check_authentication()


def test_wrong_inputs_are_named_in_the_error(client: Client) -> None:
    for inputs, named in (
        (_inputs(members=0), "/inputs/members"),
        (_inputs(members=10**6), "members"),
        (_inputs() | {"model": "untrained"}, "`model` must be left out"),
        (_inputs(lead_time="5h"), "`lead_time`"),
        ({}, "/inputs/initial_state"),
    ):
        with pytest.raises(HTTPError, match=named):
            client.submit("untrained", inputs)
    with pytest.raises(HTTPError, match="404"):
        client.submit("unknown", _inputs())
    with pytest.raises(HTTPError, match="404"):
        client.get_remote("fc_unknown")


def test_a_download_needs_the_key_of_its_owner_or_a_signature_by_it(
    keyed: tuple[Served, str, str], tmp_path: Path
) -> None:
    served, mine, other = keyed
    remote = _client(served, mine).submit("untrained", _inputs(members=1))
    path = remote.download(str(tmp_path / "mine.nc"))
    location = _client(served, mine).get_results(remote.request_id).location
    with pytest.raises(HTTPError, match="404"):
        _client(served, other).get_remote(remote.request_id)
    assert _client(served, other).get_jobs().request_ids == []
    with pytest.raises(HTTPError, match="404"):
        _client(served, other).delete(remote.request_id)
    whole = httpx.get(location)
    assert (whole.status_code, whole.content) == (200, Path(path).read_bytes())
    address, _, query = location.partition("?")
    key, expires, signature = query.split("&")
    for wrong in (
        address,
        f"{address}?{key}&{expires}&signature=0",
        f"{address}?{key}&expires=9999999999&{signature}",
        f"{address}?{key}&expires=1&{signature}",
        f"{address}?{key}&{signature}",
        f"{address.replace(remote.request_id, 'fc_0')}?{query}",
        f"{served.url}/v1/forecast/{remote.request_id}/ensemble.nc?{query}",
        f"{served.url}/api/retrieve/v1/jobs/{remote.request_id}?{query}",
    ):
        assert httpx.get(wrong).status_code == 401, wrong
    assert httpx.delete(location).status_code == 401
