"""A submitted request in either form: JSON, or multipart with the files of its initial state."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from service.problems import UNSUPPORTED, VALIDATION, ServiceError
from service.requests import ForecastBody, UploadSource

_JSON, _MULTIPART = "application/json", "multipart/form-data"
_MAX_FILES = 2
_LONGEST_NAME = 100

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        _JSON: {"schema": {"$ref": "#/components/schemas/ForecastBody"}},
        _MULTIPART: {
            "schema": {
                "type": "object",
                "required": ["request", "initial_state"],
                "properties": {
                    "request": {"type": "string", "description": "The JSON of the other form; `source` is `upload`."},
                    "initial_state": {
                        "type": "array", "minItems": 1, "maxItems": _MAX_FILES,
                        "items": {"type": "string", "format": "binary"},
                        "description": "GRIB, NetCDF or a zipped Zarr store, with both frames or one each.",
                    },
                },
            }
        },
    },
}  # fmt: skip
"""For OpenAPI."""


@dataclass(frozen=True)
class Asked:
    """A request and its files under names of ours, with the names that their sender gave them."""

    body: ForecastBody
    files: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()


@asynccontextmanager
async def asked(request: Request) -> AsyncIterator[Asked]:
    """Read a request; its files are gone afterwards.

    Raises `RequestValidationError` for a wrong field, and `ServiceError` for content of another kind.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == _JSON:
        yield Asked(_validated(await request.body(), uploads=False))
    elif kind == _MULTIPART:
        async with request.form(max_files=_MAX_FILES, max_fields=1, max_part_size=1_000_000) as form:
            text, parts = form.get("request"), form.getlist("initial_state")
            files = [part for part in parts if isinstance(part, UploadFile)]
            if not isinstance(text, str) or not files or len(files) != len(parts):
                raise ServiceError(
                    VALIDATION,
                    "A multipart request must have one field `request`, of JSON, and one or two files `initial_state`. "
                    f"Got: {', '.join(sorted(form)) or 'nothing'}.",
                )
            body = _validated(text.encode(), uploads=True)
            async with kept(files) as (paths, names):
                yield Asked(body, paths, names)
    else:
        raise ServiceError(UNSUPPORTED, f"`Content-Type` must be {_JSON} or {_MULTIPART}. Got: {kind!r}.")


@asynccontextmanager
async def kept(files: Sequence[UploadFile]) -> AsyncIterator[tuple[tuple[Path, ...], tuple[str, ...]]]:
    """Keep uploaded files, under names of ours, with the names that their sender gave them; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="warmcast-upload-") as folder:
        paths = tuple(Path(folder) / str(index) for index in range(len(files)))
        for path, file in zip(paths, files, strict=True):
            await run_in_threadpool(_keep, file, path)
        yield paths, tuple(_harmless(file.filename or f"file {index}") for index, file in enumerate(files))


def _validated(text: bytes, *, uploads: bool) -> ForecastBody:
    try:
        body = ForecastBody.model_validate_json(text)
    except ValidationError as error:
        entries = [dict(entry) | {"loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
        raise RequestValidationError(entries) from error
    if isinstance(body.initial_state, UploadSource) != uploads:
        raise ServiceError(
            VALIDATION,
            "`initial_state.source` must be `upload` where files are sent, and only there. "
            f"Got: {body.initial_state.source!r} and {'some' if uploads else 'no'} files.",
        )
    return body


def _keep(file: UploadFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)


def _harmless(name: str) -> str:
    """Return a sender's file name as text to show: printable, short, no path."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name.replace("\\", "/").rsplit("/", 1)[-1])
    return shown[:_LONGEST_NAME] or "file"
