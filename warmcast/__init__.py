"""Warmcast: ensemble weather forecasts by warm-start flow matching.

This package is the client of a Warmcast service and the command line.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmcast.async_client import AsyncClient as AsyncClient
    from warmcast.async_client import AsyncRemoteForecast as AsyncRemoteForecast
    from warmcast.client import Client as Client
    from warmcast.client import RemoteForecast as RemoteForecast
    from warmcast.errors import ClientError as ClientError
    from warmcast.errors import DownloadError as DownloadError
    from warmcast.errors import ForecastFailedError as ForecastFailedError
    from warmcast.errors import InputFileError as InputFileError
    from warmcast.errors import ServiceProblemError as ServiceProblemError
    from warmcast.errors import ServiceUnreachableError as ServiceUnreachableError
    from warmcast.errors import ServiceUrlError as ServiceUrlError
    from warmcast.errors import WaitTimeoutError as WaitTimeoutError

    __version__: str

_MODULES = {
    "AsyncClient": "warmcast.async_client",
    "AsyncRemoteForecast": "warmcast.async_client",
    "Client": "warmcast.client",
    "RemoteForecast": "warmcast.client",
} | dict.fromkeys(
    (
        "ClientError",
        "DownloadError",
        "ForecastFailedError",
        "InputFileError",
        "ServiceProblemError",
        "ServiceUnreachableError",
        "ServiceUrlError",
        "WaitTimeoutError",
    ),
    "warmcast.errors",
)

__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts without the HTTP library."""
    if name == "__version__":
        return importlib.metadata.version("warmcast")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module `warmcast` has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
