"""The page that shows the OpenAPI document, with all that it needs of no other host, and those of problems' types."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse

from service.caching import conditional, content_tag
from service.file_responses import respond_with_file
from service.problems import KINDS, NOT_FOUND, ServiceError
from storage.paths import storage_path

router = APIRouter(include_in_schema=False)

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon.png": "image/png",
}
"""Media types of the files of Swagger UI that the page uses; they are those of the package `fastapi_offline`."""
PATHS = frozenset({"/docs", "/openapi.json", *(f"/docs/{name}" for name in _ASSETS)})
"""Paths of the document, of the page and of the files of the page."""
_CACHING = {"Cache-Control": "public, max-age=86400"}
_ONLY_OWN_HOST = "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'"


@router.get("/docs")
@router.head("/docs")
def show_documentation(request: Request) -> Response:
    """Return the page. Its URLs are relative, so that it also works below the path of a proxy."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Warmcast: API",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        # a null URL turns off the badge that sends the document to a validator on the internet
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers.update(
        {"ETag": content_tag(bytes(page.body)), "Cache-Control": "no-cache", "Content-Security-Policy": _ONLY_OWN_HOST}
    )
    return conditional(request, page)


@router.get("/docs/{name}")
@router.head("/docs/{name}")
def read_asset(name: str, request: Request) -> Response:
    """Return a file of Swagger UI."""
    if name not in _ASSETS:
        raise ServiceError(NOT_FOUND, f"The page has no file {name!r}. Expected one of: {', '.join(_ASSETS)}.")
    path = Path(str(files("fastapi_offline"))) / "static" / name
    return respond_with_file(storage_path(path), request, _CACHING, _ASSETS[name])


@router.get("/problems/{slug}")
@router.head("/problems/{slug}")
def describe_problem(slug: str) -> JSONResponse:
    """Return what a kind of problem is, at the address that is its `type`."""
    if slug not in KINDS:
        raise ServiceError(NOT_FOUND, f"There is no kind of problem {slug!r}. Expected one of: {', '.join(KINDS)}.")
    kind = KINDS[slug]
    described = {"type": f"/problems/{slug}", "title": kind.title, "status": kind.status}
    return JSONResponse({**described, "retryable": kind.retry_after is not None, "retry_after": kind.retry_after})
