"""Errors of the domain: initial states, checkpoints, stores, truths and training data.

WarmcastError
├── InitialStateError          the files cannot start a forecast
│   ├── InputCorruptError      a file is damaged
│   ├── InputTooLargeError     a file is larger than is allowed, unpacked or in memory
│   ├── InputUnsupportedError  a file is of an unsupported kind
│   ├── ParserCrashedError     the process that parsed a file crashed
│   └── ParserTimeoutError     parsing a file took too long
├── CheckpointError            a checkpoint is damaged, incomplete or of another format
├── StoreError                 an ensemble or summary store cannot be created, read or resumed
│   ├── DamagedError           a stored file is missing, damaged or cannot be read
│   └── StorageFullError       the storage has too little free space
├── UpstreamError              a data set of the catalogue is not available
│   └── UpstreamRefusedError   it sends what is refused, or has never had the analysis
├── TrainingDataError          a data set cannot train, validate or evaluate a network
└── VerificationError          the truth does not fit the forecast
"""

from collections.abc import Sequence
from typing import ClassVar

from storage.errors import WarmcastError


class InitialStateError(WarmcastError):
    """The initial state cannot start a forecast."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(f"Cannot start a forecast from {source}: " + " ".join(problems))

    def __reduce__(self) -> tuple[object, ...]:
        """Return how to build the error again in another process."""
        return type(self), (self.source, self.problems), self.__dict__


class InputCorruptError(InitialStateError):
    """A file is damaged."""


class InputTooLargeError(InitialStateError):
    """A file is larger than is allowed, unpacked or in memory."""


class InputUnsupportedError(InitialStateError):
    """A file is of an unsupported kind."""


class ParserCrashedError(InitialStateError):
    """The process that parsed a file crashed."""


class ParserTimeoutError(InitialStateError):
    """Parsing a file took too long."""


class CheckpointError(WarmcastError):
    """The checkpoint cannot be used."""


class StoreError(WarmcastError):
    """The ensemble store cannot be used."""


class DamagedError(StoreError):
    """A stored file is missing, damaged or cannot be read.

    `file` is its name in the folder of the forecast, and `reason` says what is wrong with it; neither holds the path of
    that folder, which the message may have.
    """

    def __init__(self, file: str, reason: str, message: str | None = None) -> None:
        self.file, self.reason = file, reason
        super().__init__(message or f"`{file}` {reason}.")

    def __reduce__(self) -> tuple[object, ...]:
        """Return how to build the error again in another process."""
        return type(self), (self.file, self.reason, str(self)), self.__dict__


class StorageFullError(StoreError):
    """The storage has too little free space."""


class UpstreamError(WarmcastError):
    """A data set of the catalogue is not available; a later attempt may succeed.

    `dataset` is its name; the message names the time and the host, and says what happened.
    """

    exit_code: ClassVar[int] = 4
    is_retryable: ClassVar[bool] = True

    def __init__(self, dataset: str, message: str) -> None:
        self.dataset = dataset
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        """Return how to build the error again in another process."""
        return type(self), (self.dataset, str(self)), self.__dict__


class UpstreamRefusedError(UpstreamError):
    """A data set of the catalogue cannot be used as it is defined, or sends what is refused; no attempt helps."""

    exit_code = 2
    is_retryable = False


class TrainingDataError(WarmcastError):
    """The data cannot train a network."""


class VerificationError(WarmcastError):
    """The truth does not fit the forecast."""
