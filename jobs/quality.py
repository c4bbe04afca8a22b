"""Rows of a forecast's quality: diagnostics of each lead time, scores of each verification."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from jobs.rows.clock import now
from jobs.rows.tables import batch_verifications, diagnostics, verifications

_MAX_REFERENCES, _RECENT = 10, 200


@dataclass(frozen=True)
class Verification:
    """Scores of a forecast against the truth that `reference` names."""

    id: int
    reference: str
    scores: Mapping[str, Any]
    created: float


def save_diagnostics(
    connection: Connection, forecast_id: str, model: str, figures: Mapping[int, Mapping[str, Any]]
) -> None:
    """Insert the diagnostics of lead times, by their hours, except where there are some already."""
    rows = [
        {"forecast_id": forecast_id, "model": model, "lead_hours": hours, "figures": _without_nonfinite(dict(values))}
        for hours, values in figures.items()
    ]
    try:
        with connection.begin_nested():
            connection.execute(insert(diagnostics), rows)
    except IntegrityError:
        for hours in figures if len(figures) > 1 else ():
            save_diagnostics(connection, forecast_id, model, {hours: figures[hours]})


def read_diagnostics(connection: Connection, forecast_id: str) -> dict[int, dict[str, Any]]:
    """Return the diagnostics of a forecast by hours of lead time."""
    query = select(diagnostics).where(diagnostics.c.forecast_id == forecast_id).order_by(diagnostics.c.lead_hours)
    return {row.lead_hours: row.figures for row in connection.execute(query)}


def save_verification(
    connection: Connection, forecast_id: str, model: str, reference: str, scores: Mapping[str, Any]
) -> Verification:
    """Insert the scores of a verification and return it."""
    scores = _without_nonfinite(dict(scores))
    row = {"forecast_id": forecast_id, "model": model, "reference": reference, "scores": scores}
    result = connection.execute(insert(verifications).values(**row, created=now()))
    (verification_id,) = result.inserted_primary_key or (None,)
    return _verification(connection.execute(select(verifications).where(verifications.c.id == verification_id)).one())


def list_verifications(connection: Connection, forecast_id: str) -> list[Verification]:
    """Return the verifications of a forecast, oldest first."""
    query = select(verifications).where(verifications.c.forecast_id == forecast_id).order_by(verifications.c.id)
    return [_verification(row) for row in connection.execute(query)]


@dataclass(frozen=True)
class BatchVerification:
    """Scores of several parts of a batch together against the truth that `reference` names; `starts` are their ids."""

    reference: str
    starts: tuple[str, ...]
    scores: Mapping[str, Any]
    created: float


def save_batch_verification(
    connection: Connection,
    batch_id: str,
    model: str,
    reference: str,
    starts: Mapping[str, Mapping[str, Any]],
    scores: Mapping[str, Any],
) -> BatchVerification:
    """Insert the scores of the parts of a batch together, and those of each of `starts`, by its id; return the first.

    The newest scores that metrics export are then those of the last part.
    """
    for forecast_id, own in starts.items():
        save_verification(connection, forecast_id, model, reference, own)
    row = {"batch_id": batch_id, "reference": reference, "starts": list(starts)}
    connection.execute(
        insert(batch_verifications).values(**row, scores=_without_nonfinite(dict(scores)), created=now())
    )
    return list_batch_verifications(connection, batch_id)[-1]


def list_batch_verifications(connection: Connection, batch_id: str) -> list[BatchVerification]:
    """Return the verifications of a batch, oldest first."""
    query = select(batch_verifications).where(batch_verifications.c.batch_id == batch_id)
    return [
        BatchVerification(row.reference, tuple(row.starts), row.scores, row.created)
        for row in connection.execute(query.order_by(batch_verifications.c.id))
    ]


def latest_diagnostics(connection: Connection, hours: tuple[int, ...]) -> list[tuple[str, int, dict[str, Any]]]:
    """Return (model, hours of lead time, figures) of the newest diagnostics of each model at each of `hours`."""
    found = []
    for model in _distinct(connection, diagnostics.c.model):
        for lead_hours in hours:
            newest = select(func.max(diagnostics.c.id)).where(
                diagnostics.c.model == model, diagnostics.c.lead_hours == lead_hours
            )
            figures = connection.scalar(
                select(diagnostics.c.figures).where(diagnostics.c.id == newest.scalar_subquery())
            )
            if figures is not None:
                found.append((model, lead_hours, figures))
    return found


def latest_verifications(connection: Connection) -> list[tuple[str, str, dict[str, Any]]]:
    """Return model, reference and scores of the newest verification of each model against each reference.

    Callers choose the references, so there are at most 10 for each model: those of its newest 200 verifications.
    """
    found = []
    for model in _distinct(connection, verifications.c.model):
        of_model = verifications.c.model == model
        recent = select(verifications.c.reference).where(of_model).order_by(verifications.c.id.desc()).limit(_RECENT)
        for reference in list(dict.fromkeys(connection.scalars(recent)))[:_MAX_REFERENCES]:
            newest = select(func.max(verifications.c.id)).where(of_model, verifications.c.reference == reference)
            scores = connection.scalar(
                select(verifications.c.scores).where(verifications.c.id == newest.scalar_subquery())
            )
            found.append((model, reference, scores or {}))
    return found


def _distinct(connection: Connection, of: Column[str], *conditions: ColumnElement[bool]) -> list[str]:
    """Return the different values of a column in ascending order.

    Each is found in an index by its predecessor, so that the time depends on the number of values, not of rows.
    """
    first = select(func.min(of).label("value")).where(*conditions)
    values = first.cte(recursive=True)
    following = select(func.min(of)).where(of > values.c.value, *conditions).scalar_subquery()
    values = values.union_all(select(following).where(values.c.value.is_not(None)))
    return list(connection.scalars(select(values.c.value).where(values.c.value.is_not(None))))


def _without_nonfinite(value: Any) -> Any:
    """Return figures with None in place of numbers that are not finite, such as a ratio to 0: JSON has none of them."""
    if isinstance(value, Mapping):
        return {key: _without_nonfinite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nonfinite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _verification(row: Row[Any]) -> Verification:
    return Verification(row.id, row.reference, row.scores, row.created)
