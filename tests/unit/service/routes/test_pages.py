import re

import pytest

from jobs.settings import Settings
from service.app import create_app
from tests.in_process import InProcess, run_in_process
from tests.rows import create_key

HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


def _references(page: str) -> set[str]:
    return set(re.findall(r'(?:href|src)="\./(assets/[^"]+)"', page))


def test_a_browser_gets_the_page_and_all_of_its_files(api: InProcess) -> None:
    page = api.get("/", headers=HTML)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert len(_references(page.text)) >= 3
    for name in _references(page.text):
        asset = api.get(f"/{name}")
        assert asset.status_code == 200, name
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert api.get(f"/{name}", headers={"If-None-Match": asset.headers["etag"]}).status_code == 304


def test_the_page_may_load_nothing_but_files_of_the_service(api: InProcess) -> None:
    page = api.get("/", headers=HTML)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", page.text)
    assert page.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("accept", ["application/json", "*/*", ""])
def test_a_program_gets_links_that_exist(api: InProcess, accept: str) -> None:
    answer = api.get("/", headers={"Accept": accept})
    links = {link["rel"]: link["href"] for link in answer.json()["links"]}
    assert {"self", "service-desc", "service-doc", "forecasts"} <= set(links)
    for href in links.values():
        assert api.get(href).status_code in (200, 503), href


def test_caches_keep_the_page_and_the_links_apart(api: InProcess) -> None:
    tags = {api.get("/", headers=headers).headers["etag"] for headers in (HTML, {}, HTML | {"Accept-Encoding": ""})}
    assert len(tags) == 3
    assert "Accept" in re.split(", ", api.get("/").headers["vary"])
    assert "Accept-Encoding" in re.split(", ", api.get("/", headers=HTML).headers["vary"])


def test_files_are_compressed_for_clients_that_accept_it(api: InProcess) -> None:
    page = api.get("/", headers=HTML | {"Accept-Encoding": "gzip"})
    assert page.headers["content-encoding"] == "gzip"
    plain = api.get("/", headers=HTML | {"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == page.text
    assert api.head("/", headers=HTML).headers["content-length"] == page.headers["content-length"]


def test_the_address_of_a_view_leads_to_the_page(api: InProcess) -> None:
    answer = api.get("/view/fc_0123")
    assert (answer.status_code, answer.headers["location"]) == (307, "../#f=fc_0123")
    for name in ("a b", "%0d%0aX:y", "a" * 65, "a%2fb", "%3Cscript%3E"):
        refused = api.get(f"/view/{name}")
        assert refused.status_code in (404, 422), name
        assert "location" not in refused.headers


@pytest.mark.parametrize("name", ["..%2Findex.html", "build.json", "nothing.js", "..%2F..%2Fapp.py"])
def test_other_files_are_not_served(api: InProcess, name: str) -> None:
    answer = api.get(f"/assets/{name}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize("docs", ["public", "key"])
def test_the_page_needs_no_key_but_what_it_reads_does(settings: Settings, docs: str) -> None:
    with run_in_process(create_app(settings.replace(docs=docs), with_worker=False)) as api:
        create_key(api.app.state.service.database, "desk")
        page = api.get("/", headers=HTML)
        paths = ["/", "/view/fc_none", *(f"/{name}" for name in _references(page.text))]
        assert {api.get(path).status_code for path in paths} == {200, 307}
        for path in ("/forecast", "/catalogue", "/models", "/viewer", "/view", "/assets/nothing.js", "/assets/"):
            assert api.get(path).status_code == 401, path
