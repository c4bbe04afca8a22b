"""Every error that Warmcast raises on purpose.

WarmcastError
├── DataDirectoryError   the data directory is in use or cannot be used
├── DeadlineError        a forecast cannot end by the time that it is wanted
├── ForecastNotFoundError  there is no such forecast, or it is another's
├── ForecastOverError    a forecast that has ended cannot be changed
├── ForecastFailedError  a forecast of a service has failed or was called off
├── IdempotencyError     an idempotency key came again with another request
├── LeaseLostError       work has been taken over or called off: its worker must stop
├── InitialStateError    the weather that came in cannot start a forecast
│   ├── InputCorruptError      a file is damaged, or its structure is not allowed
│   ├── InputTooLargeError     a file needs more memory than is allowed
│   ├── InputUnsupportedError  a file is of a kind that is not taken
│   ├── ParserCrashedError     the program that read it came to a bad end
│   └── ParserTimeoutError     reading took too long
├── CheckpointError      a checkpoint is damaged, incomplete or of another format
├── ConfigurationError   an option or a configuration value is not possible
├── OutOfMemoryError     a device has too little memory for a single member
├── ServiceProblemError  a service refuses what it was asked, or is not reached
├── StoreError           an ensemble store cannot be created, read or resumed
├── TrainingDataError    the data set cannot train, validate or evaluate a network
└── VerificationError    the truth does not fit the forecast
"""

from collections.abc import Sequence


class WarmcastError(Exception):
    """Something that Warmcast was given cannot be used."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InitialStateError(WarmcastError):
    """The initial state cannot start a forecast."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(f"Cannot start a forecast from {source}: " + " ".join(problems))


class InputCorruptError(InitialStateError):
    """A file is damaged, or its structure is not allowed."""


class InputTooLargeError(InitialStateError):
    """A file needs more memory than is allowed."""


class InputUnsupportedError(InitialStateError):
    """A file is of a kind that is not taken."""


class ParserCrashedError(InitialStateError):
    """The program that read a file came to a bad end."""


class ParserTimeoutError(InitialStateError):
    """Reading a file took too long."""


class CheckpointError(WarmcastError):
    """The checkpoint cannot be used."""


class ConfigurationError(WarmcastError):
    """An option is not possible."""


class StoreError(WarmcastError):
    """The ensemble store cannot be used."""


class TrainingDataError(WarmcastError):
    """The data cannot train a network."""


class VerificationError(WarmcastError):
    """The truth does not fit the forecast."""


class DataDirectoryError(WarmcastError):
    """The data directory cannot be used."""


class DeadlineError(WarmcastError):
    """The deadline cannot be met."""


class ForecastNotFoundError(WarmcastError):
    """There is no such forecast."""


class ForecastOverError(WarmcastError):
    """The forecast has ended already."""


class IdempotencyError(WarmcastError):
    """The idempotency key was used for another request."""


class LeaseLostError(WarmcastError):
    """The work was taken over by another worker, or called off."""


class ForecastFailedError(WarmcastError):
    """The forecast has failed or was called off."""


class OutOfMemoryError(WarmcastError):
    """A device has too little memory for a single member."""


class ServiceProblemError(WarmcastError):
    """The service refuses what it was asked; `kind` is the problem's type, `status` that of HTTP."""

    def __init__(self, kind: str, status: int, detail: str) -> None:
        self.kind, self.status = kind, status
        super().__init__(detail)
