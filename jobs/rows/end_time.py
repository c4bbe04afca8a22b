"""The time at which a forecast ends."""

from sqlalchemy import func

from jobs.rows.clock import now_after
from jobs.rows.tables import forecasts

END_TIME = now_after(func.coalesce(forecasts.c.first_lead_time, forecasts.c.started, forecasts.c.created))
"""SQL expression: the current time, but not before the forecast's other times if the clock was set back."""
