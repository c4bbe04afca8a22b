"""What the routes share: settings, database, dispatcher; made once in the factory."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from jobs.database import Database
from jobs.dispatch import Dispatcher
from jobs.settings import Settings

LOCAL_OWNER = "local"
"""Who owns what callers without a key ask for."""


@dataclass(frozen=True)
class Service:
    """What a process of the API holds."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


ServiceHere = Annotated[Service, Depends(_service)]
Base = Annotated[str, Depends(_base)]
