"""Errors of a training that has begun.

WarmcastError
├── NotFiniteError     a loss or a gradient is not finite
├── ProcessEndedError  another process of the training has ended
└── StoppedError       the training got the signal to end, and its state is saved
"""

from storage.errors import WarmcastError


class NotFiniteError(WarmcastError):
    """A loss or a gradient is not finite."""

    exit_code = 1


class ProcessEndedError(WarmcastError):
    """Another process of this training has ended; it says why on its standard error."""

    exit_code = 3


class StoppedError(WarmcastError):
    """The training got the signal to end, and its state is saved."""

    exit_code = 143
