"""Signed addresses: what a key may read, it may let a program read that cannot send the key, for some hours.

The ECMWF client sends its key with every request but that of the file itself.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import Connection

from jobs.callers import Caller, find_key
from jobs.errors import ForecastNotFoundError
from jobs.forecasts import read_forecast
from jobs.rows.database import Database

SIGNED_PATH = re.compile(r"/api/retrieve/v1/jobs/(fc_[0-9a-f]{1,64})/results/[^/]{1,100}")
"""The paths that may be signed, with the id of the forecast."""

_VALID_SECONDS = 86_400
_KEY, _EXPIRES, _SIGNATURE = "key", "expires", "signature"
_METHODS = {"GET", "HEAD"}
_MAX_QUERY_BYTES = 1000


def sign(connection: Connection, caller: Caller, path: str) -> str:
    """Return the query that lets anyone read `path` for a day, or until the key of the caller is void.

    It is empty for a caller without a key, who needs none.
    """
    found = find_key(connection, caller.key_id)
    if found is None:
        return ""
    expires = int(time.time()) + _VALID_SECONDS
    signature = _signature(found[1][0], path, str(expires))
    return "?" + urlencode({_KEY: caller.key_id, _EXPIRES: expires, _SIGNATURE: signature})


def read_signed_query(method: str, path: str, query: bytes) -> Mapping[str, str] | None:
    """Return the query of a request that has a signature, right or wrong, and may have one; else None."""
    if method not in _METHODS or f"{_SIGNATURE}=".encode() not in query or SIGNED_PATH.fullmatch(path) is None:
        return None
    return dict(parse_qsl(query[:_MAX_QUERY_BYTES].decode("latin-1")))


def find_signer(database: Database, path: str, query: Mapping[str, str]) -> Caller | None:
    """Return the caller by whose key a path was signed; None if the signature is wrong or has expired."""
    found, expires = SIGNED_PATH.fullmatch(path), query.get(_EXPIRES, "")
    if found is None or not re.fullmatch(r"\d{1,12}", expires, re.ASCII) or int(expires) < time.time():
        return None
    with database.read() as connection:
        try:
            owner = read_forecast(connection, found[1]).owner
        except ForecastNotFoundError:
            return None
        signer = find_key(connection, query.get(_KEY, owner))
    if signer is None or signer[0].owner != owner:
        return None
    given = query.get(_SIGNATURE, "").encode()
    signatures = [_signature(digest, path, expires).encode() for digest in signer[1]]
    return signer[0] if any(hmac.compare_digest(expected, given) for expected in signatures) else None


def _signature(digest: str, path: str, expires: str) -> str:
    return hmac.new(digest.encode(), f"{expires} {path}".encode(), hashlib.sha256).hexdigest()
