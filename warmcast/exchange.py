"""Requests, answers and retries without input or output, for `Client` and `AsyncClient` alike.

Each verb (`warmcast.verbs`) is a generator of steps. A transport performs a step and sends its result into the
generator: an `Answer` or a `Failure` for `Send` and `Open`, bytes or a `Failure` for `Read`, None for the others.
"""

import json
import os
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from warmcast.errors import ServiceProblemError, ServiceUnreachableError, ServiceUrlError

DEFAULT_URL = "http://127.0.0.1:8000"
_UNAVAILABLE = {502, 503, 504}
_FIRST_CONTACT_SECONDS = 3.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
_CONNECT_SECONDS = 10.0

IDENTITY = {"Accept-Encoding": "identity"}
"""Header of a request whose answer must not be compressed."""


@dataclass(frozen=True)
class Request:
    """An HTTP request; `path` follows `/v1`, `files` are sent as multipart parts (field, file).

    `is_repeatable` says that the service does the same for one request as for two. `answer_seconds` is the longest
    pause of the service within an answer; by default the client's timeout.
    """

    method: str
    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    files: tuple[tuple[str, Path], ...] = ()
    is_repeatable: bool = True
    answer_seconds: float | None = None


def forecast_path(forecast_id: str, tail: str = "") -> str:
    """Return the path of a forecast, or of one of its resources, such as `receipt`."""
    return "/".join(["/forecast", quote(forecast_id, safe=""), *([tail] if tail else [])])


@dataclass(frozen=True)
class Answer:
    """The answer to a request; the names of `headers` are lower case; `content` is empty while a body is streamed."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""

    @property
    def is_unavailable(self) -> bool:
        """Whether the service, or a proxy in front of it, is not ready at the moment."""
        return self.status in _UNAVAILABLE

    def document(self) -> Any:
        """Return the JSON document; raises `ServiceProblemError` if the content is not JSON."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            detail = f"The answer must be JSON. Got: {self._excerpt()}. Is this the URL of a Warmcast service?"
            raise ServiceProblemError("about:blank", self.status, detail) from error

    def check(self) -> "Answer":
        """Return this answer; raises `ServiceProblemError` if it refuses the request."""
        if 200 <= self.status < 300:
            return self
        try:
            problem = json.loads(self.content)
            kind, detail = str(problem["type"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"The service answered with status {self.status}: {self._excerpt()}."
            raise ServiceProblemError("about:blank", self.status, detail) from None
        raise ServiceProblemError(
            kind,
            self.status,
            detail,
            errors=problem.get("errors") or (),
            retryable=bool(problem.get("retryable")),
            retry_after_seconds=self.retry_after_seconds,
            trace_id=problem.get("trace_id"),
        )

    @property
    def retry_after_seconds(self) -> float | None:
        """The seconds of `Retry-After`; None if the header is missing or a date."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdigit() else None

    def _excerpt(self) -> str:
        return repr(self.content[:200].decode("utf-8", "replace"))


@dataclass(frozen=True)
class Failure:
    """A connection that failed; `was_sent` says that the service may have received the request."""

    reason: str
    was_sent: bool


@dataclass(frozen=True)
class Send:
    """Send a request and receive its whole answer."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request; the body of a good answer is then received by `Read`, also after other requests were sent."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Receive the next bytes of the body; none at its end."""


@dataclass(frozen=True)
class Pause:
    """Wait for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Emit:
    """Give a value to the caller, who may end the exchange."""

    value: Any


Step = Send | Open | Read | Pause | Emit
T = TypeVar("T")
Steps = Generator[Step, Any, T]


class Service:
    """A service as the client knows it: its URL, the API key, and how long it may be unreachable."""

    def __init__(self, url: str | None, key: str | None, timeout_seconds: float) -> None:
        self.url = _checked_url(url or os.environ.get("WARMCAST_URL") or DEFAULT_URL)
        key = key or os.environ.get("WARMCAST_KEY")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ServiceUrlError("The API key must be printable ASCII without spaces.")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.timeout_seconds = timeout_seconds
        self.has_answered = False

    def timeouts(self, request: Request) -> tuple[float, float]:
        """Return the longest times in seconds for a connection and for the next bytes of an answer: 1 s or more."""
        read = request.answer_seconds or self.timeout_seconds
        return max(min(_CONNECT_SECONDS, self.timeout_seconds), 1.0), max(read, 1.0)

    def call(self, request: Request) -> Steps[Answer]:
        """Return the good answer to a request, as `Outage.call` does with no other limit than the client's timeout."""
        return (yield from Outage(self).call(request))


class Outage:
    """The retries of an exchange: when to send a request again, and when to stop.

    With `timeout_seconds` requests are repeated until then, however long the service is unreachable. Without it an
    outage may last as long as the client's timeout, or 3 s if the service has never answered.
    """

    def __init__(self, service: Service, timeout_seconds: float | None = None) -> None:
        self._service = service
        self.deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._began: float | None = None
        self._tries = 0

    def call(self, request: Request) -> Steps[Answer]:
        """Return the good answer to a request; raises `ServiceProblemError` or `ServiceUnreachableError`.

        The request is repeated while the service is unreachable, if sending it twice cannot have two effects.
        """
        while True:
            answer = yield Send(request)
            if self.is_available(answer):
                self.end()
                assert isinstance(answer, Answer)
                return answer.check()
            yield from self.pause(answer, is_repeatable=request.is_repeatable)

    def is_available(self, answer: Answer | Failure) -> bool:
        """Return whether `answer` is neither a broken connection nor a status that says "not ready" (502, 503 or 504).

        Also records in the service whether it has ever answered, with any status.
        """
        self._service.has_answered |= isinstance(answer, Answer)
        return isinstance(answer, Answer) and not answer.is_unavailable

    def limit_seconds(self, seconds: float) -> float:
        """Return so many seconds, or those until the deadline if they are fewer."""
        return seconds if self.deadline is None else min(seconds, max(self.deadline - time.monotonic(), 0.0))

    def end(self) -> None:
        """Forget when the outage began and the number of tries, since the service has answered."""
        self._began, self._tries = None, 0

    def pause(self, answer: Answer | Failure, *, is_repeatable: bool = True) -> Steps[None]:
        """Pause before the next try; raises `ServiceUnreachableError` or `ServiceProblemError` if it was the last."""
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        seconds = min(_FIRST_PAUSE_SECONDS * 2**self._tries, _LONGEST_PAUSE_SECONDS)
        if isinstance(answer, Answer):
            seconds = max(seconds, answer.retry_after_seconds or 0.0)
        limit = self._limit(self._began)
        may_repeat = is_repeatable or (isinstance(answer, Failure) and not answer.was_sent)
        if not may_repeat or now >= limit:
            if isinstance(answer, Answer):
                answer.check()
            assert isinstance(answer, Failure)
            raise ServiceUnreachableError(self._message(answer, now - self._began))
        self._tries += 1
        yield Pause(min(seconds, limit - now))

    def _limit(self, began: float) -> float:
        if self.deadline is not None:
            return self.deadline
        longest = self._service.timeout_seconds
        return began + (longest if self._service.has_answered else min(longest, _FIRST_CONTACT_SECONDS))

    def _message(self, failure: Failure, seconds: float) -> str:
        url = self._service.url
        if seconds == 0 and failure.was_sent:
            return (
                f"The connection to {url} broke after the request was sent: {failure.reason}. The service may have "
                "carried it out."
            )
        if self._service.has_answered:
            return f"The service at {url} has not answered for {seconds:.0f} s: {failure.reason}."
        return (
            f"No service answers at {url}: {failure.reason}. Start one with `warmcast serve`, or set WARMCAST_URL to "
            "the URL of another."
        )


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ServiceUrlError(
            "The URL of the service (WARMCAST_URL) must begin with http:// or https:// and name a host, such as "
            f"{DEFAULT_URL}. Got: {url!r}."
        )
    return url.rstrip("/")
