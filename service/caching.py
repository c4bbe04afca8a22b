"""HTTP caching: entity tags, conditional requests, and the headers that say which caches may store a response."""

import hashlib
import importlib.metadata
import re
from functools import cache
from typing import Final

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.batches import BatchRecord
from jobs.forecasts import ForecastRecord
from jobs.kept_states import KeptState
from jobs.keys import LOCAL_OWNER
from jobs.rows.states import Status
from service.alert_views import count_evaluated_of
from service.authentication import KEY_HEADERS, find_caller_of, may_depend_on_key
from weather.exports.state import KEPT_STATE, STATE
from weather.stores.layout import ENSEMBLE, SUMMARY

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_STORE_FILE = rf"(?:as-of/[^/]+/)?(?:{ENSEMBLE}|{SUMMARY}|{STATE})/.*"
_WHOLE_FILE = rf"(?:as-of/[^/]+/)?(?:{ENSEMBLE}|{SUMMARY})\.zip|(?:ensemble|summary)\.(?:nc|grib2)|position|area|cube"
_OF_FORECAST, _OF_BATCH, _OF_STATE = (
    rf"forecast/[^/]+/(?:{_STORE_FILE}|{_WHOLE_FILE})",
    rf"batch/[^/]+/(?:{ENSEMBLE}|{SUMMARY})/.*",
    rf"states/[^/]+/{KEPT_STATE}/.*",
)
_DATA_PATH = re.compile(rf"(?:/v1)?/(?:{_OF_FORECAST}|{_OF_BATCH}|{_OF_STATE})")
_NOT_OF_304 = (b"content-length", b"content-type")
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_NO_CONTENT: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_OWN_RULES: Final = {b"cache-control", b"vary", b"content-security-policy"}
_CROSS_ORIGIN_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After",
}


def data_cache_control(record: ForecastRecord | BatchRecord | KeptState, *, is_final: bool) -> str:
    """Return the `Cache-Control` of a file of a forecast; a file that is not final must be validated at each use.

    Shared caches may keep only files of forecasts that were submitted without an API key, and only while the service
    has no keys at all: `SharedHeaders` makes responses to callers with a key private.
    """
    scope = "public" if record.owner == LOCAL_OWNER else "private"
    return f"{scope}, max-age=31536000, immutable" if is_final else f"{scope}, no-cache"


def content_tag(content: bytes) -> str:
    """Return the strong entity tag of a response with this content."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def state_tag(record: ForecastRecord) -> str:
    """Return the weak entity tag of responses computed from a forecast.

    It changes with each complete lead time, the phase of a running forecast, evaluated alerts and damaged files.
    """
    phase = f"-{record.phase}" if record.status == Status.RUNNING and record.phase else ""
    damage = f"-{record.damaged_files}" if record.damaged_files else ""
    alerts = f"-a{evaluated}" if (evaluated := count_evaluated_of(record)) else ""
    return f'W/"{record.status}{phase}-{record.lead_times}-{record.data}{damage}{alerts}-{_version()}"'


@cache
def _version() -> str:
    return importlib.metadata.version("warmcast")


def is_unchanged(request: Request, etag: str) -> bool:
    """Return whether `If-None-Match` of a request names an entity tag, by weak comparison, or is `*`."""
    conditions = [value for name, value in request.scope["headers"] if name == b"if-none-match"]
    if not conditions:
        return False
    condition = b",".join(conditions).decode("latin-1")
    return condition == etag or condition.strip() == "*" or etag.removeprefix("W/") in _TAG.findall(condition)


def conditional(request: Request, response: Response) -> Response:
    """Return `response`, or a 304 without a body if the client has the version that the `ETag` of `response` names.

    The 304 has the other headers of `response`, but none on its body.
    """
    if not is_unchanged(request, response.headers["ETag"]):
        return response
    unchanged = Response(status_code=304)
    unchanged.raw_headers = [pair for pair in response.raw_headers if pair[0] not in _NOT_OF_304]
    return unchanged


def json_response(request: Request, document: bytes) -> Response:
    """Return the response with a JSON document and its entity tag, or 304 if the client has the document already."""
    return conditional(
        request, Response(document, headers={"ETag": content_tag(document)}, media_type="application/json")
    )


class SharedHeaders:
    """Add the headers that all responses of a kind have: security, cross-origin access to data, and rules for caches.

    No response may be used as another type than its own, in a frame, or with content of other hosts; a page that needs
    more sets its own `Content-Security-Policy`.

    A response that depends on the API key varies with the headers of the key, and only the caller's own cache may keep
    it, unless the route allows more. Other responses are not kept, unless the route allows it. No error is kept.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application and add headers to its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 400 or _DATA_PATH.fullmatch(scope["path"]) or _has_own_rules(message):
                    _add_headers(scope, message)
                else:
                    rules = _RULES_WITH_KEY if may_depend_on_key(scope) else _RULES_WITHOUT_KEY
                    message["headers"] = [*message.get("headers", ()), *rules]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _has_own_rules(message: Message) -> bool:
    """Return whether a response has any of the headers that depend on what the route allows."""
    return any(name in _OWN_RULES for name, _ in message.get("headers", ()))


def _add_headers(scope: Scope, message: Message) -> None:
    headers = MutableHeaders(scope=message)
    if _DATA_PATH.fullmatch(scope["path"]):
        headers.update(_CROSS_ORIGIN_HEADERS)
    if message["status"] >= 400:
        headers["Cache-Control"] = "no-store"
    _add_cache_rules(headers, has_key=may_depend_on_key(scope))
    caller = find_caller_of(scope)
    if caller is not None and caller.key_id != LOCAL_OWNER:
        headers["Cache-Control"] = headers["Cache-Control"].replace("public", "private")
    headers.raw.extend(_SECURITY_HEADERS)
    if "Content-Security-Policy" not in headers:
        headers.raw.append(_NO_CONTENT)


def _add_cache_rules(headers: MutableHeaders, *, has_key: bool) -> None:
    rules = headers.get("Cache-Control", "no-cache" if has_key else "no-store")
    if has_key:
        for name in KEY_HEADERS:
            headers.add_vary_header(name)
        if not {"public", "private", "no-store"} & set(re.split(r"[\s,]+", rules)):
            rules = f"private, {rules}"
    headers["Cache-Control"] = rules


def _ordinary_headers(*, has_key: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Return what is added to a response without rules of its own."""
    headers = MutableHeaders()
    _add_cache_rules(headers, has_key=has_key)
    return (*headers.raw, *_SECURITY_HEADERS, _NO_CONTENT)


_RULES_WITH_KEY, _RULES_WITHOUT_KEY = _ordinary_headers(has_key=True), _ordinary_headers(has_key=False)
