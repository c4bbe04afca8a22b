"""Routes of OGC API – Environmental Data Retrieval under `/api/edr`, for clients that find data by its metadata.

Query parameters that these clients send and that mean nothing here are ignored.
"""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Response

from jobs.errors import ForecastNotFoundError
from jobs.forecasts import ForecastRecord, list_forecasts
from service.checkpoints import read_named_manifest, read_valid_manifests
from service.dependencies import BaseUrl, Owner, OwnForecast, Service, ServiceDep, authenticate
from service.edr import (
    CONFORMANCE,
    EDR,
    Collection,
    CollectionList,
    Conformance,
    InstanceList,
    describe_collection,
    describe_instance,
    describe_service,
)
from service.problems import PROBLEM_RESPONSES
from service.routes.positions import OF_AREAS, OF_PLACES, read_area, read_cube, read_position
from service.threads import READERS, in_threads
from service.views import LandingPage, Link
from weather.manifest import Manifest

router = APIRouter(tags=["edr"], responses=PROBLEM_RESPONSES, dependencies=[Depends(authenticate)])

_COLLECTION = f"{EDR}/collections/{{model}}"
_INSTANCES = f"{_COLLECTION}/instances"
_INSTANCE = f"{_INSTANCES}/{{forecast_id}}"


@router.get(EDR)
@router.head(EDR, include_in_schema=False)
def view_landing_page(base: BaseUrl) -> LandingPage:
    """Return where a client begins: links to the conformance and to the collections."""
    return describe_service(base)


@router.get(f"{EDR}/conformance")
@router.head(f"{EDR}/conformance", include_in_schema=False)
def view_conformance() -> Conformance:
    """Return the classes of conformance."""
    return Conformance(conforms_to=[*CONFORMANCE])


@router.get(f"{EDR}/collections")
@router.head(f"{EDR}/collections", include_in_schema=False)
def list_collections(service: ServiceDep, base: BaseUrl) -> CollectionList:
    """Return all collections, one for each checkpoint."""
    manifests = read_valid_manifests(service.settings.storage.checkpoint_folders)
    collections = [describe_collection(name, manifest, base) for name, manifest in manifests]
    return CollectionList(links=[Link(rel="self", href=f"{base}{EDR}/collections")], collections=collections)


@router.get(_COLLECTION)
@router.head(_COLLECTION, include_in_schema=False)
def view_collection(model: str, service: ServiceDep, base: BaseUrl) -> Collection:
    """Return the collection of a checkpoint, with the parameters of its forecasts."""
    return describe_collection(model, _read_manifest(model, service), base)


@router.get(_INSTANCES)
@router.head(_INSTANCES, include_in_schema=False)
@in_threads(READERS)
def list_instances(
    model: str,
    service: ServiceDep,
    owner: Owner,
    base: BaseUrl,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(max_length=40, description="Only forecasts older than this one.")] = None,
) -> InstanceList:
    """Return the caller's forecasts by a checkpoint, newest first."""
    manifest = _read_manifest(model, service)
    with service.database.read() as connection:
        records = list_forecasts(connection, owner, None, limit + 1, before, model=model)
    instances = [describe_instance(record, model, manifest, base) for record in records[:limit]]
    home = f"{base}{EDR}/collections/{model}/instances"
    links = [Link(rel="self", href=home)]
    if len(records) > limit:
        links.append(Link(rel="next", href=f"{home}?{urlencode({'limit': limit, 'before': instances[-1].id})}"))
    return InstanceList(links=links, instances=instances)


def find_instance(model: str, record: OwnForecast) -> ForecastRecord:
    """Return a forecast of the caller by a checkpoint; raise `ForecastNotFoundError` if there is none."""
    if record.request.checkpoint != model:
        raise ForecastNotFoundError(f"There is no forecast {record.id!r} by {model!r}.")
    return record


Instance = Annotated[ForecastRecord, Depends(find_instance)]


@router.get(_INSTANCE)
@router.head(_INSTANCE, include_in_schema=False)
@in_threads(READERS)
def view_instance(model: str, record: Instance, service: ServiceDep, base: BaseUrl) -> Collection:
    """Return a forecast of the caller as an instance, with the queries that can be made of it."""
    return describe_instance(record, model, _read_manifest(model, service), base)


for _query, _endpoint, _responses in (
    ("position", read_position, OF_PLACES),
    ("area", read_area, OF_AREAS),
    ("cube", read_cube, OF_AREAS),
):
    _check = [Depends(find_instance)]
    router.get(f"{_INSTANCE}/{_query}", response_class=Response, responses=_responses, dependencies=_check)(_endpoint)
    router.head(f"{_INSTANCE}/{_query}", include_in_schema=False, dependencies=_check)(_endpoint)


def _read_manifest(model: str, service: Service) -> Manifest:
    return read_named_manifest(model, service.settings.storage.checkpoint_folders)
