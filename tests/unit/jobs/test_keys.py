import pytest
from sqlalchemy import select

from jobs.rows.database import Database
from jobs.rows.tables import api_keys
from storage.errors import ConfigurationError
from tests.rows import create_key, find_key_id, has_keys, list_keys, revoke_key


def test_a_key_is_valid_until_it_is_revoked_and_its_secret_is_not_stored(database: Database) -> None:
    assert not has_keys(database)
    key, secret = create_key(database, "the energy desk")
    assert find_key_id(database, secret) == key.id
    assert find_key_id(database, secret + "x") is None
    with database.read() as connection:
        assert secret not in str(connection.execute(select(api_keys)).all())
    revoke_key(database, key.id)
    assert find_key_id(database, secret) is None
    assert list_keys(database)[0].revoked is not None
    assert has_keys(database), "requests still need a key after the last one is revoked"


def test_an_unknown_key_and_an_empty_name_are_refused(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="`key_id` must be one"):
        revoke_key(database, "key_0")
    with pytest.raises(ConfigurationError, match="`name` must have 1 to 100"):
        create_key(database, "")
