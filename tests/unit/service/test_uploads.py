import asyncio
import io
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis.strategies import text
from starlette.datastructures import FormData, UploadFile
from starlette.types import Message

from service.problems import ServiceError
from service.uploads import ParsedRequest, _sanitize_name, parse_request, save_uploads, split_form
from service.work_queues import WorkQueue
from tests.in_process import InProcess


def _upload(name: str | None, content: bytes = b"GRIB") -> UploadFile:
    return UploadFile(io.BytesIO(content), filename=name)


def test_a_form_is_split_into_its_text_and_its_files() -> None:
    files = [_upload("a"), _upload("b")]
    form = FormData([("reference", "era5"), *(("truth", file) for file in files)])
    assert split_form(form, "reference", "truth", 2) == ("era5", files)


@pytest.mark.parametrize(
    ("parts", "received", "wrong"),
    [
        ([], "nothing", ["reference", "truth"]),
        ([("reference", "era5")], "reference", ["truth"]),
        ([("truth", _upload("a"))], "truth", ["reference"]),
        ([("reference", _upload("a")), ("truth", _upload("b"))], "reference, truth", ["reference"]),
        ([("reference", "era5"), ("truth", _upload("a")), ("truth", "text")], "reference, truth", ["truth"]),
    ],
)
def test_an_incomplete_form_is_refused_with_what_it_needs(
    parts: list[tuple[str, str | UploadFile]], received: str, wrong: list[str]
) -> None:
    message = rf"^The .* one field `reference` and 1 to 2 files `truth`\. Got: {received}\.$"
    with pytest.raises(ServiceError, match=message) as caught:
        split_form(FormData(parts), "reference", "truth", 2)
    assert [error.location for error in caught.value.errors] == [("body", name) for name in wrong]


def test_uploads_are_copied_and_deleted_and_their_names_are_safe_to_print() -> None:
    uploads = [_upload("../../etc/passwd", b"one"), _upload("C:\\a\nb.nc", b"two"), _upload("x" * 300), _upload(None)]

    async def save() -> tuple[list[bytes], tuple[str, ...], tuple[Path, ...]]:
        async with save_uploads(uploads) as (paths, names):
            return [path.read_bytes() for path in paths], names, paths

    contents, names, paths = asyncio.run(save())
    assert contents == [b"one", b"two", b"GRIB", b"GRIB"]
    assert names == ("passwd", "a?b.nc", "x" * 100, "file 3")
    assert not any(path.exists() for path in paths)


@given(text(max_size=150))
def test_every_name_of_a_file_is_made_short_printable_and_without_a_path(name: str) -> None:
    safe = _sanitize_name(name)
    assert 1 <= len(safe) <= 100
    assert safe.isprintable()
    assert not set(safe) & {"/", "\\"}


@pytest.mark.parametrize("name", ["state.nc", "gfs.2018091500.f000.grib2", "Vorhersage über Öl.nc", "x" * 100])
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert _sanitize_name(name) == name


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
def test_copies_of_uploads_are_deleted_if_the_request_fails_or_is_cancelled(
    temporary: Path, error: type[BaseException]
) -> None:
    async def fail() -> None:
        async with save_uploads([_upload("a"), _upload("b")]) as (paths, _):
            assert [path.read_bytes() for path in paths] == [b"GRIB", b"GRIB"]
            assert all(temporary in path.parents for path in paths)
            raise error

    with pytest.raises(error):
        asyncio.run(fail())
    assert list(temporary.iterdir()) == []


class _Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError("The connection is away.")


def test_copies_are_deleted_if_a_later_file_cannot_be_copied(temporary: Path) -> None:
    async def save() -> None:
        async with save_uploads([_upload("a"), UploadFile(_Broken(), filename="b")]):
            pytest.fail("the second file cannot be copied")

    with pytest.raises(OSError, match="away"):
        asyncio.run(save())
    assert list(temporary.iterdir()) == []


def test_an_upload_that_is_larger_than_memory_buffers_is_copied_whole(temporary: Path) -> None:
    content = np.random.default_rng(5).bytes(3_000_000)

    async def save() -> bytes:
        async with save_uploads([_upload("large", content)]) as ((path,), _):
            return path.read_bytes()

    assert asyncio.run(save()) == content


def _parse(content_type: str | None, body: bytes) -> ParsedRequest:
    """Parse a request with a content type and a body."""
    headers = [] if content_type is None else [(b"content-type", content_type.encode())]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def parse() -> ParsedRequest:
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        hold_place = partial(WorkQueue("with files", at_once=1, max_waiting=0).place, "local")
        async with parse_request(request, hold_place) as parsed:
            return parsed

    return asyncio.run(parse())


BODY = b'{"initial_state": {"source": "catalogue", "dataset": "gfs"}}'


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
def test_json_is_recognised_in_any_spelling_of_its_type(content_type: str) -> None:
    parsed = _parse(content_type, BODY)
    assert (parsed.body.model, parsed.files, parsed.names) == ("earth", (), ())


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_another_content_type_is_refused_with_the_accepted_ones(content_type: str | None) -> None:
    with pytest.raises(ServiceError, match=r"must be application/json or multipart/form-data\. Got: ") as raised:
        _parse(content_type, BODY)
    assert raised.value.kind.status == 415


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"]
)
def test_a_multipart_body_that_cannot_be_split_is_refused(api: InProcess, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = api.post("/v1/forecast", content=b"--x\r\n\r\n--x--\r\n", headers=headers)
    assert (response.status_code, response.json()["type"]) == (422, "/problems/validation"), response.text


def test_invalid_json_keeps_the_place_of_the_fault() -> None:
    with pytest.raises(RequestValidationError) as raised:
        _parse("application/json", b'{"members": 0}')
    assert {error["loc"][:2] for error in raised.value.errors()} == {("body", "members"), ("body", "initial_state")}
    assert raised.value.body == {"members": 0}


def test_a_client_that_leaves_before_the_end_of_its_body_is_no_fault_of_the_service(
    api: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/inspect",
        "query_string": b"model=untrained",
        "headers": [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=b")],
        "app": api.app,
    }
    messages = iter([{"type": "http.request", "body": b"--b\r\n", "more_body": True}, {"type": "http.disconnect"}])
    sent = list[Message]()

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    api.start_task(api.app, scope, receive, send).result(30)
    assert sent[0]["status"] == 499
    assert "Unexpected error" not in caplog.text
