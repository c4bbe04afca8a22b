import re
from urllib.parse import urljoin

import pytest

from service.problems import KINDS
from tests.in_process import InProcess

_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")


def _references(page: str) -> set[str]:
    return set(re.findall(r'(?:href|src)="([^"]+)"', page)) | set(re.findall(r"url: '([^']+)'", page))


def test_the_page_refers_only_to_files_that_the_service_serves(api: InProcess) -> None:
    page = api.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    references = _references(page.text)
    assert references == {"openapi.json", *(f"docs/{name}" for name in _ASSETS)}
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text).replace("</", "")
    for reference in references:
        assert api.get(urljoin("/docs", reference)).status_code == 200, reference


def test_a_browser_sends_the_document_to_no_other_host(api: InProcess) -> None:
    page = api.get("/docs")
    assert '"validatorUrl": null' in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'self' 'unsafe-inline' data:;")


@pytest.mark.parametrize("name", _ASSETS)
def test_assets_are_kept_by_caches(api: InProcess, name: str) -> None:
    first = api.get(f"/docs/{name}")
    assert len(first.content) > 1000
    assert first.headers["cache-control"] == "public, max-age=86400"
    again = api.get(f"/docs/{name}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = api.head(f"/docs/{name}")
    assert first.headers["x-content-type-options"] == "nosniff"
    of_each = {"x-request-id": ""}  # every response has its own
    assert (head.content, {**head.headers} | of_each) == (b"", {**first.headers} | of_each)


def test_the_page_is_validated_at_each_use(api: InProcess) -> None:
    first = api.get("/docs")
    assert first.headers["cache-control"] == "no-cache"
    assert api.get("/docs", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert api.head("/docs").status_code == 200


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2Fcore.py", "core.py", "nothing"])
def test_other_files_of_the_library_are_not_served(api: InProcess, name: str) -> None:
    assert api.get(f"/docs/{name}").status_code == 404


def test_every_type_of_a_problem_is_an_address_that_describes_it(api: InProcess) -> None:
    assert len(KINDS) > 30
    for slug, kind in KINDS.items():
        described = api.get(f"/problems/{slug}").json()
        assert (described["title"], described["status"]) == (kind.title, kind.status)
        assert described["type"] == f"/problems/{slug}"
        assert api.head(f"/problems/{slug}").status_code == 200
    problem = api.get("/v1/forecast/fc_none").json()
    assert api.get(problem["type"]).json()["status"] == 404
    assert api.get("/problems/none").json()["type"] == "/problems/not-found"
