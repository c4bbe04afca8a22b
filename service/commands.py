"""`warmcast serve` and `warmcast api`: the service in this process."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from jobs.settings import Settings
from service.app import create_app
from weather.errors import ConfigurationError


def serve(
    *, host: str, port: int, data: Path | None, dispatcher: str | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Serve until stopped."""
    given = {"data": data, "dispatcher": dispatcher}
    settings = Settings.read().model_copy(update={name: value for name, value in given.items() if value is not None})
    if not _is_loopback(host):
        raise ConfigurationError(f"`host` must be of loopback as long as no API key exists. Got: {host!r}.")
    tell(f"Warmcast serves http://{host}:{port} from {settings.data.resolve()}; ask it at /docs.")
    uvicorn.run(
        create_app(settings), host=host, port=port, log_level="warning", server_header=False,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    return {}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
