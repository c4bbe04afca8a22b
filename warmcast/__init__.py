"""Warmcast: ensemble weather forecasts by warm-start flow matching."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmcast.client import Client as Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """Load the client when it is asked for, so that the command line starts without it."""
    if name == "Client":
        return importlib.import_module("warmcast.client").Client
    raise AttributeError(f"module `warmcast` has no attribute {name!r}")
