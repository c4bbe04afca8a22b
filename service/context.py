"""What the routes share: settings, database, dispatcher; made once in the factory."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from jobs.database import Database
from jobs.dispatch import Dispatcher
from jobs.settings import Settings
from weather.places import Place


@dataclass(frozen=True)
class Service:
    """What a process of the API holds."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    data: Place
    only_loopback: bool


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _base(request: Request) -> str:
    return ((await _service(request)).settings.public_url or str(request.base_url)).rstrip("/")


ServiceHere = Annotated[Service, Depends(_service)]
Base = Annotated[str, Depends(_base)]
