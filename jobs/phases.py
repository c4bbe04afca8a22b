"""The phase of a running forecast, as its workers report it."""

from sqlalchemy import Connection, select, update

from jobs.rows.clock import now
from jobs.rows.states import OPEN, Phase
from jobs.rows.tables import forecasts, work


def report_phase(connection: Connection, forecast_id: str, worker: str, phase: Phase) -> None:
    """Store what a worker does for a forecast that has not ended.

    What precedes the rollout is not stored while another worker holds work of the forecast: that one may be further.
    """
    change = update(forecasts).where(forecasts.c.id == forecast_id, forecasts.c.status.in_(OPEN))
    if phase in {Phase.READING_STATE, Phase.LOADING_MODEL}:
        of_others = select(work.c.id).where(work.c.forecast_id == forecast_id, work.c.worker != worker)
        change = change.where(~of_others.where(work.c.done.is_(False), work.c.lease_until >= now()).exists())
    connection.execute(change.values(phase=phase))
