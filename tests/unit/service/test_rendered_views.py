import json
from collections.abc import Callable
from dataclasses import replace

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Data, Phase, Priority, Status
from service import rendered_views
from service.outlooks import Outlook
from service.rendered_views import RenderedViews
from service.views import view_forecast

Submit = Callable[..., ForecastRecord]

_BASE = "http://localhost"


def test_a_text_is_that_of_the_view_in_every_state_and_at_every_time(
    database: Database, submit_forecast: Submit
) -> None:
    views, record = RenderedViews(24.0), submit_forecast()
    now = record.created
    states = [
        record,
        replace(record, status=Status.RUNNING, started=now),
        replace(record, status=Status.RUNNING, started=now, phase=Phase.LOADING_MODEL),
        replace(record, status=Status.RUNNING, started=now, lead_times=1),
        replace(record, status=Status.RUNNING, started=now + 5, lead_times=1),
        replace(record, status=Status.RUNNING, started=now, lead_times=1, priority=Priority.LOW),
        replace(record, status=Status.FAILED, finished=now + 9, error={"detail": '"eta_seconds":7}'}),
        replace(record, status=Status.SUCCESSFUL, lead_times=4, finished=now + 9, receipt={"nonfinite_members": [1]}),
        replace(record, status=Status.SUCCESSFUL, lead_times=4, finished=now + 9, data=Data.DELETED),
        replace(record, id="fc_labels", labels={"note": '"eta_seconds":7}'}, finished=now + 9, retention_hours=1.0),
    ]
    for _ in range(2):
        for state in states:
            for later, outlook, base in (
                (0.0, None, _BASE),
                (60.0, Outlook(12.34, 5.0, 3), _BASE),
                (61.5, None, "https://w.example"),
            ):
                text = views.render(state, base, now + later, outlook)
                expected = view_forecast(state, base, now + later, outlook, 24.0).model_dump(mode="json")
                assert json.loads(text) == expected


def test_only_the_newest_texts_are_kept(database: Database, submit_forecast: Submit) -> None:
    views, record = RenderedViews(), submit_forecast()
    for index in range(rendered_views._MAX_KEPT + 10):
        views.render(replace(record, id=f"fc_{index}"), _BASE, record.created, None)
    assert len(views._kept) == rendered_views._MAX_KEPT
