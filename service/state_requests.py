"""Requests to keep an initial state: a multipart form with its files, or JSON that names a source."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from service.bodies import media_type, read_json_body, validate_body
from service.openapi import MULTIPART
from service.problems import VALIDATION, ServiceError
from service.state_bodies import CatalogueState, ForecastState, StateBody, UploadedState
from service.uploads import MAX_STATE_FILES, read_form, save_uploads
from service.work_queues import Place


@dataclass(frozen=True)
class StateRequest:
    """A validated request, the temporary copies of its files, the client's names of them, and its place for parsing."""

    source: UploadedState | CatalogueState | ForecastState
    files: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    place: Place | None = None


@asynccontextmanager
async def parse_state_request(
    request: Request, hold_place: Callable[[], AbstractAsyncContextManager[Place]]
) -> AsyncIterator[StateRequest]:
    """Parse and validate a request; its temporary files are deleted on exit.

    A request with files holds a place, and is refused before its files are received if `hold_place` refuses it. Raises
    the errors of `service.bodies`.
    """
    if media_type(request.headers) != MULTIPART:
        yield StateRequest(validate_body(StateBody, await read_json_body(request)).root)
        return
    async with hold_place() as place, read_form(request, MAX_STATE_FILES) as form:
        text, files = _split(form)
        source = validate_body(UploadedState, text.encode())
        async with save_uploads(files) as (paths, names):
            yield StateRequest(source, paths, names, place)


def _split(form: FormData) -> tuple[str, list[UploadFile]]:
    """Return the text `request` of a form, by default `{}`, and the files; raise `ServiceError` for other parts."""
    text = form.get("request", "{}")
    files = [part for part in form.getlist("initial_state") if isinstance(part, UploadFile)]
    others = [name for name, part in form.multi_items() if (name != "request") != isinstance(part, UploadFile)]
    unknown = set(form) - {"request", "initial_state"}
    if not isinstance(text, str) or not files or others or unknown:
        raise ServiceError(
            VALIDATION,
            f"A multipart request must have 1 to {MAX_STATE_FILES} files `initial_state`, and may have one text "
            f"`request`. Got: {', '.join(sorted(form)) or 'nothing'}.",
            ("body", "initial_state"),
        )
    return text, files
