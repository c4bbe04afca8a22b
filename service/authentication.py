"""ASGI middleware that authenticates the caller of a request before anything else of it is read or answered."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from anyio import to_thread
from sqlalchemy import Connection
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.audit import Actor, acting_as
from jobs.callers import LOCAL_CALLER, Caller, find_caller, save_use
from jobs.forecasts import ForecastRecord, read_forecasts
from jobs.keys import LOCAL_OWNER, has_keys
from jobs.logs import add_log_subjects
from jobs.rows.database import Database
from jobs.rows.versions import DatabaseVersion
from service.batches import BatchReader
from service.failed_keys import FailedKeys
from service.problems import UNAUTHORIZED, ServiceError
from service.roles import check_role
from service.signatures import find_signer, read_signed_query

KEY_HEADERS = ("Authorization", "PRIVATE-TOKEN")
"""The request headers that may contain an API key."""

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
"""Paths that need no key under any setting."""

_CALLER, _FORECASTS = "caller", "forecasts"
_FORECAST_PATH = re.compile(r"(?:/v1)?/forecast/([^/]+)(?:/.*)?", re.DOTALL)
_READS = {"GET", "HEAD"}
_UNKNOWN = "The API key is unknown or revoked."
_NO_KEY_YET = "An API key is required, and none exists yet: create one with `warmcast key create NAME`."


class _Inquiry(NamedTuple):
    secret: str | None
    forecast_id: str | None


class _Finding(NamedTuple):
    caller: Caller
    forecast: ForecastRecord | None


class Callers:
    """Finds the caller of a request's API key in the database, so that a revoked key is refused at once.

    Without any key in the database, everybody is the local caller, unless `needs_key`. Callers that send wrong keys are
    slowed down by their addresses.
    """

    def __init__(self, database: Database, *, needs_key: bool) -> None:
        self._database, self._needs_key = database, needs_key
        self._version = DatabaseVersion(database)
        self._findings = BatchReader(
            self._read, "keys", self._version.read, lambda _inquiry, found: found.caller.is_lasting
        )
        self._failed_keys = FailedKeys()
        self._used: set[str] = set()

    async def find_caller(self, headers: Headers, address: str | None = None) -> Caller:
        """Return the caller with a valid key; raise `ServiceError` (401) for an unknown one.

        With the caller's `address`, a wrong key is counted; after too many of them the status is 429.
        """
        caller, _ = await self.find_caller_and_forecast(headers, address, None)
        return caller

    async def find_caller_and_forecast(
        self, headers: Headers, address: str | None, forecast_id: str | None
    ) -> tuple[Caller, ForecastRecord | None]:
        """Return the same as `find_caller`, and the forecast with an id, of any owner, from the same transaction."""
        secret = _find_secret(headers)
        if secret is None:
            await self.check_set_up()
        found = await self._findings.read(_Inquiry(secret, forecast_id))
        if found is None or found.caller.fault is not None:
            if secret is not None and address is not None:
                self._failed_keys.count(address)
            detail = "An API key is required: `Authorization: Bearer KEY`." if secret is None else _UNKNOWN
            raise ServiceError(UNAUTHORIZED, detail if found is None else found.caller.fault or detail)
        self._used.add(found.caller.key_id)
        return found

    async def find_signer(self, path: str, query: Mapping[str, str], address: str | None) -> Caller:
        """Return the caller who has signed a path; raise `ServiceError` (401) if nobody has, which is counted."""
        caller = await to_thread.run_sync(find_signer, self._database, path, query)
        if caller is None:
            if address is not None:
                self._failed_keys.count(address)
            raise ServiceError(UNAUTHORIZED, "The signature of the address is wrong or has expired. Request it again.")
        return caller

    def save_use(self) -> None:
        """Store that keys were used since the last call, apart from requests: a write may have to wait for others."""
        used, self._used = self._used - {LOCAL_OWNER}, set()
        if not used:
            return
        try:
            with self._database.write() as connection:
                save_use(connection, used)
        except BaseException:
            self._used |= used
            raise

    async def check_set_up(self) -> None:
        """Raise `ServiceError` (401) if a key is needed and none exists yet."""
        if self._needs_key and await self._findings.read(_Inquiry(None, None)) is not None:
            raise ServiceError(UNAUTHORIZED, _NO_KEY_YET)

    async def is_known(self, headers: Headers) -> bool:
        """Return whether the caller with these headers may still see its forecasts."""
        try:
            await self.find_caller(headers)
        except ServiceError as error:
            return error.kind != UNAUTHORIZED
        return True

    def close(self) -> None:
        """End the thread that reads keys."""
        self._findings.close()
        self._version.close()

    def _read(self, inquiries: Sequence[_Inquiry]) -> Mapping[_Inquiry, _Finding]:
        """Return the caller of each known secret, with its forecast; None is the local caller unless a key exists."""
        with self._database.read() as connection:
            callers = {secret: _read_caller(connection, secret) for secret in {each.secret for each in inquiries}}
            known = {each: caller for each in inquiries if (caller := callers[each.secret]) is not None}
            ids = {each.forecast_id for each, caller in known.items() if caller.fault is None} - {None}
            forecasts = read_forecasts(connection, [each for each in ids if each is not None]) if ids else {}
        return {each: _Finding(caller, forecasts.get(each.forecast_id or "")) for each, caller in known.items()}


class Authentication:
    """Refuse requests without a valid key (401), or that its role does not allow (403); see `caller_of`.

    `HEALTH_PATHS` never need a key, and `open_paths` and paths that begin with `open_prefix` do not once the service
    has a key or needs none. Nor does the method `OPTIONS`, by which browsers ask, without the key, whether a page of
    another origin may read data.
    """

    def __init__(self, app: ASGIApp, *, open_paths: frozenset[str], open_prefix: str) -> None:
        self._app, self._open_paths, self._open_prefix = app, open_paths, open_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application if its caller may send it; else raise `ServiceError`."""
        if scope["type"] == "http" and scope["path"] not in HEALTH_PATHS and scope["method"] != "OPTIONS":
            callers: Callers = scope["app"].state.service.callers
            if scope["path"] in self._open_paths or scope["path"].startswith(self._open_prefix):
                await callers.check_set_up()
            else:
                state = scope.setdefault("state", {})
                state[_CALLER] = None
                caller = state[_CALLER] = await _find_caller(callers, scope, state)
                if caller.key_id != LOCAL_OWNER:
                    add_log_subjects(key_id=caller.key_id)
                check_role(caller, scope["method"], scope["path"])
                with acting_as(Actor(caller.key_id, caller.role, address_of(scope))):
                    await self._app(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _find_caller(callers: Callers, scope: Scope, state: dict[str, Any]) -> Caller:
    """Return the caller of a request; if it only reads, read the forecast in its path too, see `forecasts_of`."""
    query = read_signed_query(scope["method"], scope["path"], scope["query_string"])
    if query is not None:
        return await callers.find_signer(scope["path"], query, address_of(scope))
    path = _FORECAST_PATH.fullmatch(scope["path"]) if scope["method"] in _READS else None
    forecast_id = None if path is None else path[1]
    caller, forecast = await callers.find_caller_and_forecast(Headers(scope=scope), address_of(scope), forecast_id)
    if forecast_id is not None:
        state[_FORECASTS] = {forecast_id: forecast}
    return caller


def forecasts_of(scope: Scope) -> Mapping[str, ForecastRecord | None]:
    """Return, by id, the forecast of any owner that was read with the caller of a request; None if there is none."""
    found: Mapping[str, ForecastRecord | None] = scope["state"].get(_FORECASTS, {})
    return found


def caller_of(scope: Scope) -> Caller:
    """Return the caller of a request that has passed the authentication."""
    caller = scope["state"][_CALLER]
    assert isinstance(caller, Caller)
    return caller


def owner_of(scope: Scope) -> str:
    """Return the owner of the forecasts that the caller reads, and submits if its role allows that."""
    return caller_of(scope).owner


def find_caller_of(scope: Scope) -> Caller | None:
    """Return the caller of a request, or None if it is not known."""
    caller = scope.get("state", {}).get(_CALLER)
    return caller if isinstance(caller, Caller) else None


def may_depend_on_key(scope: Scope) -> bool:
    """Return whether the API key of a request has been checked: its response may then differ by key."""
    return _CALLER in scope.get("state", {})


def address_of(scope: Scope) -> str:
    """Return the address of the client; behind a proxy on the same machine, the one that the proxy has seen."""
    client = scope.get("client")
    return "" if client is None else str(client[0])


def _read_caller(connection: Connection, secret: str | None) -> Caller | None:
    """Return the caller with a secret, if there is one; without a secret the local one, unless a key exists."""
    if secret is not None:
        return find_caller(connection, secret)
    return None if has_keys(connection) else LOCAL_CALLER


def _find_secret(headers: Headers) -> str | None:
    """Return the API key in the headers of a request, or None."""
    scheme, _, credentials = headers.get(KEY_HEADERS[0], "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get(KEY_HEADERS[1]) or None
