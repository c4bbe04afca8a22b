"""Errors of the client; none is an error of the HTTP library or of another package of Warmcast.

ClientError
├── DownloadError            a file cannot be saved
├── ForecastFailedError      a forecast has failed, or was cancelled
├── InputFileError           a file to send does not exist, or is a folder
├── MissingExtraError        a command needs packages that are not installed
├── ServiceProblemError      the service refuses a request
├── ServiceUnreachableError  the service does not answer
├── ServiceUrlError          the URL of the service, or the API key, is not valid
└── WaitTimeoutError         a forecast has not ended in the given time
"""

from collections.abc import Mapping, Sequence
from typing import Any

_ADVICE = {
    "/problems/unauthorized": "The command sends the key in the variable WARMCAST_KEY; `warmcast key create NAME`, on "
    "the service's machine, makes one."
}


class ClientError(Exception):
    """A request to a service cannot be made, or does not succeed."""

    exit_code: int = 2
    """Exit code of a command that ends with this error."""

    advice: str = ""
    """What a user of the command line can do about it, as a sentence."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class DownloadError(ClientError):
    """The file cannot be saved."""

    exit_code = 3


class ForecastFailedError(ClientError):
    """The forecast has failed, or was cancelled.

    `status` is `failed` or `dismissed` (cancelled); `problem` is the forecast's problem document, None without one.
    """

    exit_code = 5

    def __init__(self, message: str, status: str, problem: Mapping[str, Any] | None) -> None:
        self.status, self.problem = status, problem
        super().__init__(message)


class InputFileError(ClientError):
    """A file to send does not exist, or is a folder."""


class MissingExtraError(ClientError):
    """The command needs packages that are not installed."""


class ServiceProblemError(ClientError):
    """The service refuses a request.

    The attributes are those of its problem document (RFC 9457): `kind` is the type, such as `/problems/validation`;
    `status` the HTTP status; `detail` the message; `errors` the wrong fields of the request, each with `pointer` (a
    JSON pointer) and `detail`; `retryable` is true if the same request can succeed later, after `retry_after_seconds`
    if the service states it; `trace_id` identifies the response.
    """

    def __init__(
        self,
        kind: str,
        status: int,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        retryable: bool = False,
        retry_after_seconds: float | None = None,
        trace_id: str | None = None,
    ) -> None:
        self.kind, self.status, self.detail = kind, status, detail
        self.errors = tuple(errors)
        self.retryable, self.retry_after_seconds = retryable, retry_after_seconds
        self.trace_id = trace_id
        self.exit_code = 4 if retryable else 2
        self.advice = _ADVICE.get(kind, "")
        super().__init__(detail)


class ServiceUnreachableError(ClientError):
    """The service does not answer."""

    exit_code = 4


class ServiceUrlError(ClientError):
    """The URL of the service, or the API key, is not valid."""


class WaitTimeoutError(ClientError, TimeoutError):
    """The forecast has not ended in the given time."""

    exit_code = 4
