"""The page of forecasts at `/`, its files, and the links of the service for programs."""

import gzip
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.caching import conditional, content_tag
from service.dependencies import BaseUrl
from service.edr import EDR
from service.problems import NOT_FOUND, ServiceError
from service.views import LandingPage, Link

router = APIRouter(tags=["pages"])

VIEW_PREFIX = "/view/"
"""Start of the paths that lead to the page with a forecast; they need no key, and say nothing about the forecast."""

_FOLDER = files("service") / "static" / "viewer"
_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HTML = "text/html"
_IMMUTABLE = "public, max-age=31536000, immutable"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Only files of the service."""


@cache
def _list_assets() -> frozenset[str]:
    """Return the names of the files of the page."""
    return frozenset(asset.name for asset in (_FOLDER / "assets").iterdir())


def page_paths() -> frozenset[str]:
    """Return the paths of the page and of its files, which need no key."""
    return frozenset({"/", *(f"/assets/{name}" for name in _list_assets())})


@router.get("/", response_model=LandingPage, responses={200: {"content": {_HTML: {}}}})
@router.head("/", include_in_schema=False)
def read_landing_page(request: Request, base: BaseUrl) -> Response:
    """Return the page of forecasts to a browser, and the links of the service to programs, by `Accept`."""
    if _HTML in request.headers.get("Accept", ""):
        response = _compressible(request, _read("index.html"), f"{_HTML}; charset=utf-8")
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Cache-Control"] = "no-cache"
    else:
        content = _describe_service(base).model_dump_json().encode()
        response = Response(content, headers={"ETag": content_tag(content)}, media_type="application/json")
    response.headers.add_vary_header("Accept")
    return conditional(request, response)


@router.get("/view/{forecast_id}", include_in_schema=False)
@router.head("/view/{forecast_id}", include_in_schema=False)
def open_page(forecast_id: Annotated[str, Path(pattern=r"^[\w-]{1,64}$")]) -> Response:
    """Lead to the page with a forecast; whether the forecast exists is for the page to find out, with its key."""
    return Response(status_code=307, headers={"Location": f"../#f={forecast_id}"})


@router.get("/assets/{name}", include_in_schema=False)
@router.head("/assets/{name}", include_in_schema=False)
def read_asset(name: str, request: Request) -> Response:
    """Return a file of the page; its name has a digest of its content, so that caches keep it for ever."""
    if name not in _list_assets():
        raise ServiceError(NOT_FOUND, f"The page has no file {name!r}.")
    response = _compressible(request, _read(f"assets/{name}"), _MEDIA_TYPES[name.rsplit(".", 1)[1]])
    response.headers["Cache-Control"] = _IMMUTABLE
    return conditional(request, response)


def _describe_service(base: str) -> LandingPage:
    json = "application/json"
    links = [
        Link(rel="self", href=f"{base}/", type=json),
        Link(rel="alternate", href=f"{base}/", type=_HTML),
        Link(rel="service-desc", href=f"{base}/openapi.json", type="application/vnd.oai.openapi+json;version=3.1"),
        Link(rel="service-doc", href=f"{base}/docs", type=_HTML),
        Link(
            rel="http://www.opengis.net/def/rel/ogc/1.0/processes", href=f"{base}/api/retrieve/v1/processes", type=json
        ),
        Link(rel="http://www.opengis.net/def/rel/ogc/1.0/job-list", href=f"{base}/api/retrieve/v1/jobs", type=json),
        Link(rel="conformance", href=f"{base}{EDR}/conformance", type=json),
        Link(rel="data", href=f"{base}{EDR}/collections", type=json),
        Link(rel="forecasts", href=f"{base}/v1/forecast", type=json),
        Link(rel="catalogue", href=f"{base}/v1/catalogue", type=json),
        Link(rel="models", href=f"{base}/v1/models", type=json),
        Link(rel="status", href=f"{base}/readyz", type=json),
    ]
    return LandingPage(
        title="Warmcast", description="Ensemble weather forecasts by warm-start flow matching", links=links
    )


def _compressible(request: Request, content: bytes, media_type: str) -> Response:
    """Return a response with a file of the page, compressed if the client accepts it."""
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        content = _compress(content)
        headers["Content-Encoding"] = "gzip"
    headers["ETag"] = content_tag(content)
    return Response(content, headers=headers, media_type=media_type)


@cache
def _read(name: str) -> bytes:
    return _FOLDER.joinpath(name).read_bytes()


@cache
def _compress(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
