"""Count refused requests for the audit log; what is stored of them is limited, whatever callers send."""

from threading import Lock

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.audit import Refusal, append_refusals
from jobs.rows.database import Database
from service.authentication import address_of, find_caller_of
from service.failed_keys import caller_address

REFUSED = {401, 403, 429}
"""Statuses that are counted."""

_MAX_KINDS = 100
"""Largest number of entries between two calls of `save`; further requests are counted together by status."""
_OTHERS = "others"


class Refusals:
    """Counts by key, address and status since the last call of `save`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbers: dict[Refusal, int] = {}
        self._lock = Lock()

    def count(self, refusal: Refusal) -> None:
        """Count a request."""
        self._add(refusal, 1)

    def save(self) -> None:
        """Append the counts to the audit log; if that fails, they are kept for the next call."""
        with self._lock:
            numbers, self._numbers = self._numbers, {}
        if not numbers:
            return
        try:
            with self._database.write() as connection:
                append_refusals(connection, numbers)
        except BaseException:
            for refusal, number in numbers.items():
                self._add(refusal, number)
            raise

    def _add(self, refusal: Refusal, number: int) -> None:
        with self._lock:
            if refusal not in self._numbers and len(self._numbers) >= _MAX_KINDS:
                refusal = Refusal("", None, _OTHERS, refusal.status)
            self._numbers[refusal] = self._numbers.get(refusal, 0) + number


class CountRefusals:
    """Middleware that counts the requests that are refused with 401, 403 or 429."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the application and count its response if it is a refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in REFUSED:
                caller, address = find_caller_of(scope), caller_address(address_of(scope))
                actor, role = ("", None) if caller is None else (caller.key_id, caller.role)
                scope["app"].state.service.refusals.count(Refusal(actor, role, address, message["status"]))
            await send(message)

        await self._app(scope, receive, send_and_count)
