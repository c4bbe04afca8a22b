import hashlib
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select

from jobs.forecasts import ForecastRecord
from jobs.keys import PREFIX
from jobs.limits import LIMIT_NAMES
from jobs.rows.database import Database
from jobs.rows.states import Role
from jobs.rows.tables import api_keys
from storage.errors import ConfigurationError
from tests.clock import MovableClock
from tests.rows import create_key, find_key_id, has_keys, limit_key, list_keys, read_forecast, revoke_key, rotate_key


def test_a_key_is_valid_until_it_is_revoked_and_its_secret_is_not_stored(database: Database) -> None:
    assert not has_keys(database)
    key, secret = create_key(database, "the energy desk")
    assert find_key_id(database, secret) == key.id
    assert find_key_id(database, secret + "x") is None
    with database.read() as connection:
        rows = connection.execute(select(api_keys)).all()
    assert secret not in str(rows)
    assert hashlib.sha256(secret.encode()).hexdigest() in str(rows)
    revoke_key(database, key.id)
    assert find_key_id(database, secret) is None
    assert list_keys(database)[0].revoked is not None
    assert has_keys(database), "requests still need a key after the last one is revoked"


def test_no_key_is_found_by_an_empty_secret_a_digest_or_an_id(database: Database) -> None:
    key, secret = create_key(database, "one")
    digest = hashlib.sha256(secret.encode()).hexdigest()
    for wrong in ("", digest, key.id, key.name, secret.upper(), secret[:-1], PREFIX, "' OR 1=1 --"):
        assert find_key_id(database, wrong) is None, wrong


def test_revoking_one_key_leaves_the_others_valid(database: Database) -> None:
    (first, first_secret), (second, second_secret) = create_key(database, "one"), create_key(database, "two")
    revoke_key(database, first.id)
    assert find_key_id(database, first_secret) is None
    assert find_key_id(database, second_secret) == second.id


def test_a_key_keeps_the_time_of_its_first_revocation(database: Database, clock: MovableClock) -> None:
    key, _ = create_key(database, "one")
    clock.advance(100)
    revoke_key(database, key.id)
    (revoked,) = list_keys(database)
    clock.advance(100)
    revoke_key(database, key.id)
    assert list_keys(database) == [revoked]
    assert revoked.revoked is not None
    assert 100 <= revoked.revoked - key.created < 120


def test_keys_are_listed_oldest_first_with_revoked_ones(database: Database, clock: MovableClock) -> None:
    made = []
    for name in ("c", "a", "b"):
        made.append(create_key(database, name)[0])
        clock.advance(1)
    revoke_key(database, made[1].id)
    listed = list_keys(database)
    assert [key.name for key in listed] == ["c", "a", "b"]
    assert [key.revoked is None for key in listed] == [True, False, True]
    assert (listed[0], listed[2]) == (made[0], made[2])


def test_two_keys_may_have_the_same_name_but_never_the_same_secret(database: Database) -> None:
    made = [create_key(database, "same") for _ in range(20)]
    assert len({key.id for key, _ in made}) == 20
    assert len({secret for _, secret in made}) == 20
    assert all(secret.startswith(PREFIX) and len(secret) >= len(PREFIX) + 43 for _, secret in made)


def test_keys_that_are_created_at_the_same_time_are_all_valid(database: Database) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(create_key(database, "one")[1])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({find_key_id(database, secret) for secret in made} - {None}) == 8


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines", "tab\t", "\x1b[31mred", "null\x00"])
def test_a_name_that_would_break_a_listing_is_refused(name: str, database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"`name` must have 1 to 100 printable characters. Got: ") as refusal:
        create_key(database, name)
    assert repr(name) in str(refusal.value)
    assert not has_keys(database)


@pytest.mark.parametrize("name", ["x", "x" * 100, "Böen-Dienst", "'; DROP TABLE api_key; --"])
def test_any_printable_name_is_stored_unchanged(name: str, database: Database) -> None:
    create_key(database, name)
    assert [key.name for key in list_keys(database)] == [name]


def test_an_unknown_key_cannot_be_revoked(database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"`key_id` must be one that `warmcast key list` prints. Got: 'key_0'"):
        revoke_key(database, "key_0")


def test_forecasts_of_a_revoked_key_are_kept(database: Database, insert_rows: Callable[..., ForecastRecord]) -> None:
    key, _ = create_key(database, "one")
    forecast = insert_rows(owner=key.id)
    revoke_key(database, key.id)
    assert read_forecast(database, forecast.id, key.id) == forecast


def test_a_key_has_limits_of_its_own_until_they_are_removed(database: Database) -> None:
    key, _ = create_key(database, "one", {"open_forecasts": 3, "uploads": None, "high_priority": True})
    assert key.limits == {"open_forecasts": 3, "high_priority": True}
    changed = limit_key(database, key.id, {"open_forecasts": 0, "kept_bytes": 10**15})
    assert changed.limits == {"open_forecasts": 0, "high_priority": True, "kept_bytes": 10**15}
    assert limit_key(database, key.id, {}) == changed
    assert limit_key(database, key.id, dict.fromkeys(LIMIT_NAMES)).limits == {}
    assert list_keys(database)[0].limits == {}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"open_forecasts": -1}, r"`open_forecasts` must be a number from 0 to 2147483647\. Got: -1"),
        ({"uploads": 2**31}, r"`uploads` must be a number from 0 to 2147483647"),
        ({"kept_bytes": 2**63}, r"`kept_bytes` must be a number from 0 to 9223372036854775807"),
        ({"digest": 1}, r"`digest` is not a limit of a key\. Expected one of: open_forecasts, "),
    ],
)
def test_a_limit_that_is_not_possible_is_refused(limits: dict[str, int], message: str, database: Database) -> None:
    key, _ = create_key(database, "one")
    for change in (lambda: create_key(database, "two", limits), lambda: limit_key(database, key.id, limits)):
        with pytest.raises(ConfigurationError, match=message):
            change()
    assert list_keys(database) == [key]


def test_an_unknown_key_cannot_be_limited(database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"`key_id` must be one that `warmcast key list` prints. Got: 'key_0'"):
        limit_key(database, "key_0", {"uploads": 1})


def test_an_expiry_is_a_duration_from_now_or_a_time(database: Database, clock: MovableClock) -> None:
    key, secret = create_key(database, "guest", expires="90d")
    assert key.expires is not None
    assert abs(key.expires - key.created - 90 * 86400) < 60
    assert create_key(database, "project", expires="2100-01-31T12:00Z")[0].expires == 4105080000.0
    assert create_key(database, "project", expires="2100-01-31T12:00")[0].expires == 4105080000.0
    assert find_key_id(database, secret) == key.id
    clock.advance(90 * 86400 + 60)
    assert find_key_id(database, secret) is None


@pytest.mark.parametrize("text", ["", "soon", "90", "-1d", "0d", "1e3d", "999999d", "2020-01-01", "90 d", "nan", "٣d"])
def test_an_expiry_that_is_not_in_the_future_is_refused(text: str, database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"`expires` must be .* Got: "):
        create_key(database, "guest", expires=text)
    assert not has_keys(database)


def test_a_rotation_keeps_the_key_and_ends_older_secrets(database: Database, clock: MovableClock) -> None:
    key, first = create_key(database, "desk", {"uploads": 3})
    rotated, second = rotate_key(database, key.id, "24h")
    assert (rotated.id, rotated.name, rotated.limits) == (key.id, key.name, key.limits)
    _, third = rotate_key(database, key.id, "24h")
    assert [find_key_id(database, secret) for secret in (first, second, third)] == [None, key.id, key.id]
    clock.advance(86400 + 1)
    assert [find_key_id(database, secret) for secret in (second, third)] == [None, key.id]
    _, fourth = rotate_key(database, key.id, "0h")
    assert [find_key_id(database, secret) for secret in (third, fourth)] == [None, key.id]


def test_a_key_that_is_void_is_not_rotated(database: Database, clock: MovableClock) -> None:
    revoked, expired = create_key(database, "one")[0], create_key(database, "two", expires="1h")[0]
    revoke_key(database, revoked.id)
    clock.advance(3601)
    for key, fault in ((revoked, "is revoked"), (expired, "has expired")):
        with pytest.raises(ConfigurationError, match=fault):
            rotate_key(database, key.id)
    renewed, secret = rotate_key(database, expired.id, expires="30d")
    assert find_key_id(database, secret) == renewed.id
    with pytest.raises(ConfigurationError, match=r"`overlap` must be minutes, hours or days.* Got: 'long'"):
        rotate_key(database, expired.id, "long")


def test_a_reader_is_of_an_owner_that_exists(database: Database) -> None:
    owner, _ = create_key(database, "desk")
    reader, _ = create_key(database, "screen", role=Role.READER, of=owner.id)
    assert (reader.role, reader.reads) == (Role.READER, owner.id)
    assert create_key(database, "archive", role=Role.READER, of="local")[0].reads == "local"
    for role, of in ((Role.READER, None), (Role.READER, "key_0"), (Role.READER, reader.id), (Role.OPERATOR, owner.id)):
        with pytest.raises(ConfigurationError, match=r"`(of|key_id)` must be "):
            create_key(database, "wrong", role=role, of=of)
    assert len(list_keys(database)) == 3
