"""The objects that all routes share: settings, database, dispatcher, data folder."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from jobs.database import Database
from jobs.dispatch import Dispatcher
from jobs.settings import Settings
from storage.paths import StoragePath


@dataclass(frozen=True)
class Service:
    """The objects that one API process opens at startup and its routes share."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    data: StoragePath
    only_loopback: bool


async def _current_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _base_url(request: Request) -> str:
    return ((await _current_service(request)).settings.public_url or str(request.base_url)).rstrip("/")


ServiceDep = Annotated[Service, Depends(_current_service)]
BaseUrl = Annotated[str, Depends(_base_url)]
