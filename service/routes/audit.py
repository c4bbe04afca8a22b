"""The route of the audit log, for operators alone: `service.roles` refuses all other callers."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from jobs.audit import Action, AuditEntry, list_audit
from service.dependencies import BaseUrl, Owner, ServiceDep
from service.problems import PROBLEM_RESPONSES
from service.views import Link, format_time

router = APIRouter(tags=["operation"], responses=PROBLEM_RESPONSES)


class AuditView(BaseModel):
    """An entry of the audit log."""

    id: int
    time: str
    key: str = Field(description="Id of the API key; `local` without keys, `cli`: the command line, empty: unknown.")
    role: str | None
    action: Action
    subject: str | None = Field(description="Id of the forecast, batch, initial state or key.")
    address: str | None = Field(description="Address of the client; of a refused one with IPv6, its network.")
    request_id: str | None
    outcome: str = Field(description="`done`, or the status of refused requests.")
    number: int = Field(description="Number of requests: those refused within a minute are one entry.")


class AuditPage(BaseModel):
    """A page of the audit log, newest first."""

    entries: list[AuditView]
    links: list[Link]


@router.get("/audit")
@router.head("/audit", include_in_schema=False)
def read_audit(
    service: ServiceDep,
    _owner: Owner,
    base: BaseUrl,
    since: Annotated[AwareDatetime | None, Query(description="Only entries since this time, with its zone.")] = None,
    key: Annotated[str | None, Query(max_length=64, description="Only entries of this key.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=0, lt=2**63, description="Only entries with a smaller id.")] = None,
) -> AuditPage:
    """Return who changed what, and which requests were refused, newest first; for operators."""
    start = None if since is None else since.timestamp()
    with service.database.read() as connection:
        entries = list_audit(connection, limit + 1, since=start, actor=key, before=before)
    links = [Link(rel="self", href=f"{base}/v1/audit")]
    if len(entries) > limit:
        entries = entries[:limit]
        query = [("limit", str(limit)), ("before", str(entries[-1].id)), *([("key", key)] if key else ())]
        query += [] if since is None else [("since", since.isoformat())]
        links.append(Link(rel="next", href=f"{base}/v1/audit?{urlencode(query)}"))
    return AuditPage(entries=[_view(entry) for entry in entries], links=links)


def _view(entry: AuditEntry) -> AuditView:
    return AuditView(
        id=entry.id,
        time=format_time(entry.time),
        key=entry.actor,
        role=entry.role,
        action=entry.action,
        subject=entry.subject,
        address=entry.address,
        request_id=entry.request_id,
        outcome=entry.outcome,
        number=entry.number,
    )
