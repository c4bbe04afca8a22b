"""ASGI middleware that authenticates the caller of a request before anything else of it is read or answered."""

from collections.abc import Mapping, Sequence

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.keys import find_key_id, has_keys
from jobs.logs import add_log_subjects
from jobs.rows.database import Database
from service.batches import BatchReader
from service.failed_keys import FailedKeys
from service.problems import UNAUTHORIZED, ServiceError
from service.signatures import find_signer, read_signed_query

LOCAL_OWNER = "local"
"""Owner of the forecasts that are submitted without a key."""

KEY_HEADERS = ("Authorization", "PRIVATE-TOKEN")
"""The request headers that may contain an API key."""

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
"""Paths that need no key under any setting."""

_OWNER = "owner"
_UNKNOWN = "The API key is unknown or revoked."
_NO_KEY_YET = "An API key is required, and none exists yet: create one with `warmcast key create NAME`."


class Callers:
    """Finds the owner of a request's API key in the database, so that a revoked key is refused at once.

    Without any key in the database, everybody is the local owner, unless `needs_key`. Callers that send wrong keys are
    slowed down by their addresses.
    """

    def __init__(self, database: Database, *, needs_key: bool) -> None:
        self._database, self._needs_key = database, needs_key
        self._owners = BatchReader(self._read_owners, "keys")
        self._failed_keys = FailedKeys()

    async def find_owner(self, headers: Headers, address: str | None = None) -> str:
        """Return the owner whose forecasts the caller may see; raise `ServiceError` (401) for an unknown caller.

        With the caller's `address`, a wrong key is counted; after too many of them the status is 429.
        """
        secret = _find_secret(headers)
        if secret is None:
            await self.check_set_up()
        owner = await self._owners.read(secret)
        if owner is None:
            if secret is not None and address is not None:
                self._failed_keys.count(address)
            detail = "An API key is required: `Authorization: Bearer KEY`." if secret is None else _UNKNOWN
            raise ServiceError(UNAUTHORIZED, detail)
        return owner

    async def find_signer(self, path: str, query: Mapping[str, str], address: str | None) -> str:
        """Return the owner who has signed a path; raise `ServiceError` (401) if nobody has, which is counted."""
        owner = await to_thread.run_sync(find_signer, self._database, path, query)
        if owner is None:
            if address is not None:
                self._failed_keys.count(address)
            raise ServiceError(UNAUTHORIZED, "The signature of the address is wrong or has expired. Request it again.")
        return owner

    async def check_set_up(self) -> None:
        """Raise `ServiceError` (401) if a key is needed and none exists yet."""
        if self._needs_key and await self._owners.read(None) is not None:
            raise ServiceError(UNAUTHORIZED, _NO_KEY_YET)

    async def is_known(self, headers: Headers) -> bool:
        """Return whether the caller with these headers may still see its forecasts."""
        try:
            await self.find_owner(headers)
        except ServiceError as error:
            return error.kind != UNAUTHORIZED
        return True

    def close(self) -> None:
        """End the thread that reads keys."""
        self._owners.close()

    def _read_owners(self, secrets: Sequence[str | None]) -> Mapping[str | None, str]:
        """Return the owner of each secret that is valid, and the local owner for None unless a key exists."""
        owners = {}
        with self._database.read() as connection:
            for secret in secrets:
                if secret is not None:
                    owner = find_key_id(connection, secret)
                else:
                    owner = None if has_keys(connection) else LOCAL_OWNER
                if owner is not None:
                    owners[secret] = owner
        return owners


class Authentication:
    """Refuse requests without a valid key (401); of the others, `owner_of` returns the owner.

    `HEALTH_PATHS` never need a key, and `open_paths` do not once the service has a key or needs none. Nor does the
    method `OPTIONS`, by which browsers ask, without the key, whether a page of another origin may read data.
    """

    def __init__(self, app: ASGIApp, *, open_paths: frozenset[str]) -> None:
        self._app, self._open_paths = app, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application if its caller is known; else raise `ServiceError` (401)."""
        if scope["type"] == "http" and scope["path"] not in HEALTH_PATHS and scope["method"] != "OPTIONS":
            callers: Callers = scope["app"].state.service.callers
            if scope["path"] in self._open_paths:
                await callers.check_set_up()
            else:
                state = scope.setdefault("state", {})
                state[_OWNER] = None
                query = read_signed_query(scope["method"], scope["path"], scope["query_string"])
                if query is not None:
                    owner = await callers.find_signer(scope["path"], query, _address_of(scope))
                else:
                    owner = await callers.find_owner(Headers(scope=scope), _address_of(scope))
                state[_OWNER] = owner
                if owner != LOCAL_OWNER:
                    add_log_subjects(key_id=owner)
        await self._app(scope, receive, send)


def owner_of(scope: Scope) -> str:
    """Return the owner of the key of a request that has passed the authentication."""
    owner = scope["state"][_OWNER]
    assert isinstance(owner, str)
    return owner


def may_depend_on_key(scope: Scope) -> bool:
    """Return whether the API key of a request has been checked: its response may then differ by key."""
    return _OWNER in scope.get("state", {})


def _address_of(scope: Scope) -> str:
    """Return the address of the client; behind a proxy on the same machine, the one that the proxy has seen."""
    client = scope.get("client")
    return "" if client is None else str(client[0])


def _find_secret(headers: Headers) -> str | None:
    """Return the API key in the headers of a request, or None."""
    scheme, _, credentials = headers.get(KEY_HEADERS[0], "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get(KEY_HEADERS[1]) or None
