"""Forecasts as instances of collections of OGC API – Environmental Data Retrieval (EDR), one for each checkpoint."""

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from diagnostics.parameters import find_parameters
from jobs.forecasts import ForecastRecord
from service.series_formats import MEDIA_TYPES, SeriesFormat, describe_parameter
from service.views import LandingPage, Link
from weather.manifest import Manifest

EDR = "/api/edr"
"""Where these routes are; requests may have query parameters that mean nothing here, as all below `/api`."""

CONFORMANCE = (
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/core",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/collections",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/json",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/covjson",
)
"""The classes of conformance that the routes have."""

QueryType = Literal["position", "area", "cube"]
_QUERIES: dict[QueryType, str] = {
    "position": "coords=POINT(lon lat) or MULTIPOINT",
    "area": "coords=POLYGON((lon lat, …)) or MULTIPOLYGON",
    "cube": "bbox=west,south,east,north",
}
_FORMATS: dict[SeriesFormat, str] = {"json": "JSON", "csv": "CSV", "covjson": "CoverageJSON"}
_CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_WKT = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]]'
)


class Conformance(BaseModel):
    """The classes of conformance."""

    conforms_to: list[str] = Field(serialization_alias="conformsTo")


class Collection(BaseModel):
    """A collection, or an instance of one: extent, parameters, and the queries that can be made of it."""

    id: str
    title: str
    description: str
    extent: dict[str, Any]
    crs: list[str] = [_CRS84]
    output_formats: list[str] = list(_FORMATS.values())
    data_queries: dict[str, Any]
    parameter_names: dict[str, Any]
    links: list[Link]


class CollectionList(BaseModel):
    """All collections."""

    links: list[Link]
    collections: list[Collection]


class InstanceList(BaseModel):
    """Instances of a collection, newest first."""

    links: list[Link]
    instances: list[Collection]


def describe_service(base: str) -> LandingPage:
    """Return the landing page; `base` is the base URL of the service."""
    return LandingPage(
        title="Warmcast",
        description="Ensemble weather forecasts: a collection for each checkpoint, an instance for each forecast.",
        links=[
            Link(rel="self", href=f"{base}{EDR}", type="application/json"),
            Link(rel="conformance", href=f"{base}{EDR}/conformance", type="application/json"),
            Link(rel="data", href=f"{base}{EDR}/collections", type="application/json"),
            Link(rel="service-desc", href=f"{base}/openapi.json", type="application/json"),
            Link(rel="service-doc", href=f"{base}/docs", type="text/html"),
        ],
    )


def describe_collection(name: str, manifest: Manifest, base: str) -> Collection:
    """Return the collection of a checkpoint, which has no data but that of its instances."""
    home = f"{base}{EDR}/collections/{name}"
    link = {"href": f"{home}/instances", "rel": "data", "variables": {"query_type": "instances"}}
    return Collection(
        id=name,
        title=f"Forecasts by {manifest.name}",
        description=f"{manifest.model.time_step_hours}-hourly ensemble forecasts. Each is an instance.",
        extent={"spatial": _spatial_extent(manifest)},
        data_queries={"instances": {"link": link}},
        parameter_names=_describe_parameters(manifest),
        links=[
            Link(rel="self", href=home, type="application/json"),
            Link(rel="data", href=f"{home}/instances", type="application/json"),
        ],
    )


def describe_instance(record: ForecastRecord, name: str, manifest: Manifest, base: str) -> Collection:
    """Return a forecast as an instance; its extent in time ends with the last complete lead time."""
    home = f"{base}{EDR}/collections/{name}/instances/{record.id}"
    request, first = record.request, record.request.init_datetime
    hours = request.lead_hours * record.lead_times // record.num_lead_times
    interval = [f"{time}Z" for time in (first, first + np.timedelta64(hours, "h"))]
    steps = f"R{record.lead_times}/{interval[0]}/PT{manifest.model.time_step_hours}H"
    temporal = {"interval": [interval], "trs": "Gregorian", "values": [steps]}
    return Collection(
        id=record.id,
        title=f"Forecast of {interval[0]}, {request.members} members, {request.lead_hours} h",
        description=f"{record.status}, {record.lead_times} of {record.num_lead_times} lead times.",
        extent={"spatial": _spatial_extent(manifest), "temporal": temporal},
        data_queries={query: {"link": _describe_query(home, query)} for query in _QUERIES},
        parameter_names=_describe_parameters(manifest),
        links=[
            Link(rel="self", href=home, type="application/json"),
            Link(rel="describedby", href=f"{base}/v1/forecast/{record.id}", type="application/json"),
        ],
    )


def _describe_query(home: str, query: QueryType) -> dict[str, Any]:
    variables = {
        "title": f"{query}: {_QUERIES[query]}",
        "query_type": query,
        "output_formats": list(_FORMATS),
        "default_output_format": "json",
        "crs_details": [{"crs": "CRS84", "wkt": _WKT}],
    }
    return {"href": f"{home}/{query}", "rel": "data", "type": MEDIA_TYPES["json"], "variables": variables}


def _spatial_extent(manifest: Manifest) -> dict[str, Any]:
    latitude = manifest.model.grid.latitude
    return {"bbox": [[-180.0, float(min(latitude)), 180.0, float(max(latitude))]], "crs": _CRS84}


def _describe_parameters(manifest: Manifest) -> dict[str, Any]:
    parameters = find_parameters((), manifest.model.variable_names, "ms")
    return {each.name: describe_parameter(each.name, each, each.units) for each in parameters}
