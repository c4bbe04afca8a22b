"""Parse a submitted request in either form: JSON, or multipart with the files of its initial state."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from jobs.request import UploadSource
from service.bodies import media_type, validate_body
from service.faults import Faults
from service.openapi import JSON, MULTIPART
from service.problems import UNSUPPORTED, VALIDATION, ServiceError
from service.requests import ForecastBody
from service.work_queues import Place

MAX_STATE_FILES = 8
"""Most files of an initial state: one for each frame of the longest context of a checkpoint."""
_MAX_NAME_LENGTH = 100
_MAX_TEXT_BYTES = 100_000


@dataclass(frozen=True)
class ParsedRequest:
    """A validated request, the temporary copies of its files, the client's names of them, and its place for parsing."""

    body: ForecastBody
    files: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    place: Place | None = None


@asynccontextmanager
async def parse_request(
    request: Request, hold_place: Callable[[], AbstractAsyncContextManager[Place]]
) -> AsyncIterator[ParsedRequest]:
    """Parse and validate a request; its temporary files are deleted on exit.

    A request with files holds a place, and is refused before its files are received if `hold_place` refuses it. Raises
    `RequestValidationError` for an invalid field, and `ServiceError` for another content type.
    """
    content_type = media_type(request.headers)
    if content_type == JSON:
        yield ParsedRequest(_parse_body(await request.body(), uploads=False))
    elif content_type == MULTIPART:
        async with hold_place() as place, read_form(request, MAX_STATE_FILES) as form:
            text, files = split_form(form, "request", "initial_state", MAX_STATE_FILES)
            body = _parse_body(text.encode(), uploads=True)
            async with save_uploads(files) as (paths, names):
                yield ParsedRequest(body, paths, names, place)
    else:
        raise ServiceError(UNSUPPORTED, f"`Content-Type` must be {JSON} or {MULTIPART}. Got: {content_type[:100]!r}.")


@asynccontextmanager
async def read_form(request: Request, max_files: int) -> AsyncIterator[FormData]:
    """Read a multipart form of one text and at most `max_files` files; raise `ServiceError` for any other form."""
    try:
        form = await request.form(max_files=max_files, max_fields=1, max_part_size=_MAX_TEXT_BYTES)
    except HTTPException as error:
        raise ServiceError(
            VALIDATION,
            f"The multipart body must have one text of at most {_MAX_TEXT_BYTES} bytes and at most {max_files} files. "
            f"Got: {error.detail}",
            ("body",),
        ) from error
    try:
        yield form
    finally:
        await form.close()


def split_form(form: FormData, field: str, files: str, max_files: int) -> tuple[str, list[UploadFile]]:
    """Return the text of `field` and the uploads of `files` in a form; raise `ServiceError` if either is missing."""
    text, parts = form.get(field), form.getlist(files)
    uploads = [part for part in parts if isinstance(part, UploadFile)]
    message = (
        f"The request must be multipart, with one field `{field}` and 1 to {max_files} files `{files}`. "
        f"Got: {', '.join(sorted(form)) or 'nothing'}."
    )
    faults = Faults()
    for name, is_valid in ((field, isinstance(text, str)), (files, bool(uploads) and len(uploads) == len(parts))):
        if not is_valid:
            faults.add(ServiceError(VALIDATION, message, ("body", name)))
    faults.check()
    assert isinstance(text, str)
    return text, uploads


@asynccontextmanager
async def save_uploads(files: Sequence[UploadFile]) -> AsyncIterator[tuple[tuple[Path, ...], tuple[str, ...]]]:
    """Copy uploaded files to a temporary folder, deleted on exit; yield the copies and the client's file names."""
    with tempfile.TemporaryDirectory(prefix="warmcast-upload-") as folder:
        paths = tuple(Path(folder) / str(index) for index in range(len(files)))
        for path, file in zip(paths, files, strict=True):
            await run_in_threadpool(_copy_upload, file, path)
        yield paths, tuple(_sanitize_name(file.filename or f"file {index}") for index, file in enumerate(files))


def _parse_body(text: bytes, *, uploads: bool) -> ForecastBody:
    """Return the validated body; its `initial_state.source` must be `upload` if and only if the request contains files.

    `uploads` says whether it does.
    """
    body = validate_body(ForecastBody, text)
    if isinstance(body.initial_state, UploadSource) != uploads:
        raise ServiceError(
            VALIDATION,
            "`initial_state.source` must be `upload` if and only if the request contains files. "
            f"Got: {body.initial_state.source!r} and {'some' if uploads else 'no'} files.",
            ("body", "initial_state", "source"),
        )
    return body


def _copy_upload(file: UploadFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)


def _sanitize_name(name: str) -> str:
    """Return a client's file name made safe for messages: printable, short, without a path."""
    safe = "".join(letter if letter.isprintable() else "?" for letter in name.replace("\\", "/").rsplit("/", 1)[-1])
    return safe[:_MAX_NAME_LENGTH] or "file"
