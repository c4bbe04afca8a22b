"""Errors of running the networks on a device.

WarmcastError
└── OutOfMemoryError  a device has too little memory for a single member
"""

from storage.errors import WarmcastError


class OutOfMemoryError(WarmcastError):
    """A device has too little memory for a single member."""
