import pytest
from sqlalchemy import select

from jobs.database import Database
from jobs.keys import create_key, find_key_id, has_keys, list_keys, revoke_key
from jobs.tables import api_keys
from storage.errors import ConfigurationError


def test_a_key_opens_until_it_is_revoked_and_its_secret_is_kept_nowhere(database: Database) -> None:
    assert not has_keys(database)
    key, secret = create_key(database, "the energy desk")
    assert find_key_id(database, secret) == key.id
    assert find_key_id(database, secret + "x") is None
    with database.read() as connection:
        assert secret not in str(connection.execute(select(api_keys)).all())
    revoke_key(database, key.id)
    assert find_key_id(database, secret) is None
    assert list_keys(database)[0].revoked is not None
    assert has_keys(database), "the last key that is revoked does not open the service to everybody"


def test_what_is_no_key_is_told(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="`key_id` must be one"):
        revoke_key(database, "key_0")
    with pytest.raises(ConfigurationError, match="`name` must have 1 to 100"):
        create_key(database, "")
