"""Every error that Warmcast raises on purpose.

WarmcastError
├── InitialStateError    the weather that came in cannot start a forecast
├── CheckpointError      a checkpoint is damaged, incomplete or of another format
├── ConfigurationError   an option or a configuration value is not possible
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
