"""Routes for a forecast as a file that other software reads: NetCDF or GRIB 2, whole or a part, resumable by ranges."""

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from jobs.forecasts import ForecastRecord
from jobs.rows.states import OPEN
from service.caching import data_cache_control
from service.child_calls import ForecastAddress
from service.child_processes import while_connected
from service.damage import answering_damage
from service.dependencies import (
    OwnForecast,
    Service,
    ServiceDep,
    check_lead_times,
    find_data_folder,
    find_members_folder,
)
from service.exports import ExportQuery, encode_block, plan_export
from service.faults import Faults, located_at
from service.file_responses import RequestedRange, find_range
from service.problems import PROBLEM_RESPONSES, TOO_BUSY, ServiceError
from service.routes.data import allow_cross_origin_reads
from weather.errors import DamagedError, StoreError
from weather.exports.export import Block, ExportPlan, Form
from weather.exports.part import Part
from weather.region import Region
from weather.stores.layout import ENSEMBLE, SUMMARY
from weather.times import Interval

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

MEDIA_TYPES: dict[Form, str] = {"nc": "application/x-netcdf", "grib2": "application/x-grib"}
_MAX_SECONDS = 60.0
"""Seconds that a lead time may take."""
_BUSY_SECONDS = 600.0
"""Seconds for which an export that has begun waits until the service is less busy."""

Names = Annotated[
    str, Query(alias="parameter-name", max_length=500, description="List such as u10,v10; all by default.")
]
Times = Annotated[
    str, Query(alias="datetime", max_length=100, description="Valid time, or first/last with .. for no limit.")
]
Box = Annotated[
    str | None,
    Query(max_length=100, description="Region as west,south,east,north in degrees; the globe by default."),
]
Members = Annotated[str, Query(max_length=2000, description="List of members such as 0-9,12; all by default.")]

T = TypeVar("T")


async def export_ensemble(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    names: Names = "",
    members: Members = "",
    times: Times = "../..",
    bbox: Box = None,
) -> Response:
    """Return complete lead times of all or some members as one file; also of a forecast that has not ended well.

    Any range of the file is sent. Its entity tag changes with the number of lead times in it: with a `datetime` that
    ends at a complete one, the file of a running forecast does not change.
    """
    part = _parse_part(names, members, times, bbox)
    return await respond_with_export(record, service, request, ExportQuery(ENSEMBLE, part, _form(request)))


async def export_summary(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    names: Names = "",
    times: Times = "../..",
    bbox: Box = None,
) -> Response:
    """Return complete lead times of mean, spread, quantiles and exceedance as one file; else as of the ensemble."""
    part = _parse_part(names, "", times, bbox)
    return await respond_with_export(record, service, request, ExportQuery(SUMMARY, part, _form(request)))


for _store, _endpoint in ((ENSEMBLE, export_ensemble), (SUMMARY, export_summary)):
    for _suffix, _media_type in MEDIA_TYPES.items():
        _path = f"/forecast/{{forecast_id}}/{_store.removesuffix('.zarr')}.{_suffix}"
        _answers: dict[int | str, dict[str, Any]] = {code: {"content": {_media_type: {}}} for code in (200, 206)}
        router.add_api_route(_path, _endpoint, methods=["GET"], response_class=Response, responses=_answers)
        router.add_api_route(_path, _endpoint, methods=["HEAD"], include_in_schema=False)
        router.add_api_route(_path, allow_cross_origin_reads, methods=["OPTIONS"], include_in_schema=False)


def _form(request: Request) -> Form:
    """Return the format that the path of a route names."""
    return next(form for form in MEDIA_TYPES if request.scope["route"].path.endswith(f".{form}"))


async def respond_with_export(
    record: ForecastRecord, service: Service, request: Request, query: ExportQuery
) -> Response:
    """Return the response with an export, or with a range of it; its first block is made before it begins."""
    plan, form = await plan_of(record, service, request, query), query.form
    address = ForecastAddress.of(record, service.settings.storage)
    requested = find_range(request, plan.size_bytes, _entity_tag(record, query, plan), _headers(record, query))
    if not requested.has_body:
        media_type = MEDIA_TYPES[form] if requested.status < 300 else None
        return Response(None, requested.status, requested.headers, media_type)
    encode = partial(_encode, record, service, address, query, plan, requested)
    blocks = list(plan.blocks(requested.start, requested.stop))
    beginning = await while_connected(request, encode(blocks[0])) if blocks else b""

    async def content() -> AsyncIterator[bytes]:
        yield beginning
        for block in blocks[1:]:
            yield await encode_patiently(partial(encode, block))

    return StreamingResponse(content(), requested.status, requested.headers, MEDIA_TYPES[form])


async def plan_of(record: ForecastRecord, service: Service, request: Request, query: ExportQuery) -> ExportPlan:
    """Return the plan of an export, a kept one if the forecast has not changed since it was made.

    Raises `ServiceError` if the forecast has no such store, or no complete lead time.
    """
    find_folder = find_members_folder if query.store == ENSEMBLE else find_data_folder
    find_folder(record, service)
    check_lead_times(record)
    address = ForecastAddress.of(record, service.settings.storage)
    make = partial(_in_child, record, service, partial(plan_export, address, query))
    key = address, query, record.status, record.lead_times, record.damaged_files
    try:
        return await while_connected(request, service.queues.exports.get(key, make))
    except StoreError as error:
        if isinstance(error, DamagedError):
            raise
        check_lead_times(replace(record, lead_times=0))
        raise


def _headers(record: ForecastRecord, query: ExportQuery) -> dict[str, str]:
    name = f"{record.id}{'' if query.store == ENSEMBLE else '-summary'}.{query.form}"
    return {
        "Cache-Control": data_cache_control(record, is_final=record.status not in OPEN),
        "Content-Disposition": f'attachment; filename="{name}"',
    }


def _parse_part(names: str, members: str, times: str, bbox: str | None) -> Part:
    faults = Faults()
    interval = faults.attempt(("query",), Interval.parse, times)
    region = None if bbox is None else faults.attempt(("query",), Region.parse, bbox)
    faults.check()
    assert interval is not None
    return Part(tuple(name.strip() for name in names.split(",") if name.strip()), members, interval, region)


def _entity_tag(record: ForecastRecord, query: ExportQuery, plan: ExportPlan) -> str:
    """Return the strong entity tag of an export, which depends on the versions that make its bytes."""
    versions = [version(package) for package in ("warmcast", "xarray", "scipy", "eccodes")]
    identity = repr((record.id, query, plan.selection.lead_indices, plan.size_bytes, versions))
    return f'"{hashlib.sha256(identity.encode()).hexdigest()[:32]}"'


async def _encode(
    record: ForecastRecord,
    service: Service,
    address: ForecastAddress,
    query: ExportQuery,
    plan: ExportPlan,
    requested: RequestedRange,
    block: Block,
) -> bytes:
    """Return the bytes of a block that are in the range."""
    if block.lead_index is None:
        content = plan.header
    else:
        content = await _in_child(record, service, partial(encode_block, address, query, plan, block))
    return content[max(requested.start - block.start, 0) : requested.stop - block.start]


async def _in_child(record: ForecastRecord, service: Service, call: Callable[[], T]) -> T:
    async with service.queues.reading.place(record.owner) as place:
        with answering_damage(record, service), located_at("query"):
            return await place.run(call, _MAX_SECONDS)


async def encode_patiently(call: "partial[Any]") -> bytes:
    """Return the result of a call, which is repeated while the queue has no place for it."""
    with anyio.fail_after(_BUSY_SECONDS):
        while True:
            try:
                content: bytes = await call()
            except ServiceError as error:
                if error.kind.slug != TOO_BUSY.slug:
                    raise
                await anyio.sleep(error.kind.retry_after or 1)
            else:
                return content
