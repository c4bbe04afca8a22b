"""`warmcast serve`, `warmcast api` and `warmcast key`: the service in this process, and who may ask it."""

import ipaddress
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn

from jobs.database import Database
from jobs.keys import create_key, list_keys, revoke_key
from jobs.settings import Settings
from service.app import create_app


def serve(
    *, host: str, port: int, metrics_port: int | None, data: Path | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Serve until stopped, with a worker beside."""
    return _serve(host, port, metrics_port, data, tell, with_worker=True)


def api(
    *, host: str, port: int, metrics_port: int | None, data: Path | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Serve until stopped; workers are elsewhere."""
    return _serve(host, port, metrics_port, data, tell, with_worker=False)


def make_key(*, name: str, data: Path | None) -> dict[str, Any]:
    """Make an API key; its secret is in the receipt, and nowhere else."""
    database = _database(data)
    key, secret = create_key(database, name)
    database.close()
    return asdict(key) | {"secret": secret}


def show_keys(*, data: Path | None) -> dict[str, Any]:
    """Return all keys, without their secrets."""
    database = _database(data)
    keys = [asdict(key) for key in list_keys(database)]
    database.close()
    return {"keys": keys}


def withdraw_key(*, key_id: str, data: Path | None) -> dict[str, Any]:
    """Revoke a key."""
    database = _database(data)
    revoke_key(database, key_id)
    database.close()
    return {"id": key_id}


def _serve(
    host: str, port: int, metrics_port: int | None, data: Path | None, tell: Callable[[str], None], *, with_worker: bool
) -> dict[str, Any]:
    settings = _settings(data)
    tell(f"Warmcast serves http://{host}:{port} from {settings.data.resolve()}; ask it at /docs.")
    app = create_app(settings, only_loopback=_is_loopback(host), with_worker=with_worker, metrics_port=metrics_port)
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False, timeout_graceful_shutdown=5)
    return {}


def _settings(data: Path | None) -> Settings:
    settings = Settings.read()
    return settings if data is None else settings.model_copy(update={"data": data})


def _database(data: Path | None) -> Database:
    settings = _settings(data)
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.url)
    database.migrate()
    return database


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
