"""Signed addresses, by which a file is read without the key."""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

import pytest

from jobs.callers import LOCAL_CALLER, Caller
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Role
from service import signatures
from service.signatures import find_signer, read_signed_query, sign
from tests.rows import create_key, revoke_key

PATH = "/api/retrieve/v1/jobs/{}/results/{}.nc"


@pytest.fixture
def signed(submit_forecast: Callable[..., ForecastRecord], database: Database) -> tuple[str, Mapping[str, str], str]:
    """A path of a forecast of a key, its signed query, and the owner."""
    key, _ = create_key(database, "desk")
    record = submit_forecast(owner=key.id)
    path = PATH.format(record.id, record.id)
    with database.read() as connection:
        query = sign(connection, Caller(key.id, Role.SUBMITTER, key.id), path).removeprefix("?")
    read = read_signed_query("GET", path, query.encode())
    assert read == dict(parse_qsl(query))
    return path, read, key.id


def test_a_signature_is_valid_until_it_expires_or_the_key_is_revoked(
    signed: tuple[str, Mapping[str, str], str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, query, owner = signed
    signer = find_signer(database, path, query)
    assert signer is not None
    assert signer.owner == owner
    with monkeypatch.context() as later:
        later.setattr(signatures.time, "time", lambda: float(query["expires"]) + 1)
        assert find_signer(database, path, query) is None
    revoke_key(database, owner)
    assert find_signer(database, path, query) is None


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "é"},
        {"expires": "9999999999"},
        {"expires": "-1"},
        {"expires": "٣" * 10},
        {"expires": "9" * 13},
        {"expires": ""},
    ],
)
def test_a_signature_is_of_its_path_and_its_time(
    signed: tuple[str, Mapping[str, str], str], database: Database, change: dict[str, str]
) -> None:
    path, query, _ = signed
    assert find_signer(database, path, {**query, **change}) is None
    assert find_signer(database, path.replace(".nc", ".zip"), query) is None
    assert find_signer(database, PATH.format("fc_0", "a"), query) is None


def test_only_reads_of_results_can_be_signed() -> None:
    path = PATH.format("fc_0", "a")
    assert read_signed_query("HEAD", path, b"signature=1") == {"signature": "1"}
    assert read_signed_query("DELETE", path, b"signature=1") is None
    assert read_signed_query("GET", path, b"") is None
    for other in ("/v1/forecast/fc_0", "/api/retrieve/v1/jobs/fc_0", f"{path}/../../x", PATH.format("fc_0/x", "a")):
        assert read_signed_query("GET", other, b"signature=1") is None


def test_an_owner_without_a_key_needs_no_signature(database: Database) -> None:
    with database.read() as connection:
        assert sign(connection, LOCAL_CALLER, PATH.format("fc_0", "a")) == ""
