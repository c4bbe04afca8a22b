"""Rows of a forecast's quality: diagnostics of each lead time, scores of each verification."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from jobs.rows.clock import now
from jobs.rows.tables import diagnostics, verifications


@dataclass(frozen=True)
class Verification:
    """Scores of a forecast against the truth that `reference` names."""

    id: int
    reference: str
    scores: Mapping[str, Any]
    created: float


def save_diagnostics(
    connection: Connection, forecast_id: str, model: str, lead_hours: int, figures: Mapping[str, Any]
) -> None:
    """Insert the diagnostics of a lead time, unless it has some already."""
    figures = _without_nonfinite(dict(figures))
    row = {"forecast_id": forecast_id, "model": model, "lead_hours": lead_hours, "figures": figures}
    try:
        with connection.begin_nested():
            connection.execute(insert(diagnostics).values(row))
    except IntegrityError:
        pass


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


def latest_diagnostics(connection: Connection, hours: tuple[int, ...]) -> list[tuple[str, int, dict[str, Any]]]:
    """Return model, hours of lead time and figures of the newest diagnostics of each model at each of `hours`."""
    newest = (
        select(func.max(diagnostics.c.id))
        .where(diagnostics.c.lead_hours.in_(hours))
        .group_by(diagnostics.c.model, diagnostics.c.lead_hours)
    )
    rows = connection.execute(select(diagnostics).where(diagnostics.c.id.in_(newest)))
    return [(row.model, row.lead_hours, row.figures) for row in rows]


def latest_verifications(connection: Connection) -> list[tuple[str, str, dict[str, Any]]]:
    """Return model, reference and scores of the newest verification of each model against each reference."""
    newest = select(func.max(verifications.c.id)).group_by(verifications.c.model, verifications.c.reference)
    rows = connection.execute(select(verifications).where(verifications.c.id.in_(newest)))
    return [(row.model, row.reference, row.scores) for row in rows]


def _without_nonfinite(value: Any) -> Any:
    """Return figures with None in place of numbers that are not finite, such as a ratio to 0: JSON has none of them."""
    if isinstance(value, Mapping):
        return {key: _without_nonfinite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nonfinite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _verification(row: Row[Any]) -> Verification:
    return Verification(row.id, row.reference, row.scores, row.created)
