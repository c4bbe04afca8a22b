from collections.abc import Callable
from typing import Any

import pytest
import torch

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.settings import Settings
from models import compilation
from tests.helpers import wait_until
from tests.rows import read_forecast
from weather.manifest import WHITE
from weather.stores.create import RNG_NAME
from workers.loop import Worker

Submit = Callable[..., ForecastRecord]


def _receipt(database: Database, forecast: ForecastRecord) -> dict[str, Any]:
    record = read_forecast(database, forecast.id)
    assert record.receipt is not None, record
    return dict(record.receipt)


def test_a_receipt_names_how_its_values_were_computed(
    submit_forecast: Submit, worker: Worker, database: Database
) -> None:
    forecast = submit_forecast()
    wait_until(lambda: not worker.run())
    receipt = _receipt(database, forecast)
    (computation,) = receipt["computations"]
    expected = {"device": "cpu", "threads": torch.get_num_threads(), "batch_size": 2, "precision": "float32"}
    assert computation.items() >= (expected | {"compiled": False, "first_lead_hours": 6}).items()
    assert (receipt["threads"], receipt["compiled"]) == (torch.get_num_threads(), False)
    assert receipt["warnings"] == list(forecast.request.warnings)
    assert receipt["noise"] == {"rng": RNG_NAME} | WHITE.parameters


def test_a_forecast_goes_on_without_compilation_once_that_fails_and_its_receipt_says_so(
    submit_forecast: Submit,
    settings: Settings,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = 0

    def compile_for_some_calls(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 20:
                raise RuntimeError("no C compiler")
            return function(*arguments)

        return run

    monkeypatch.setattr(compilation, "_compile", compile_for_some_calls)
    worker = Worker(settings.replace(compile="on", group_size=2), database)
    submit_forecast()
    wait_until(lambda: not worker.run())
    worker.wait_for_compilation()
    forecast = submit_forecast()
    wait_until(lambda: not worker.run())
    receipt = _receipt(database, forecast)
    first, second = receipt["computations"]
    assert (first["compiled"], first["first_lead_hours"], "compilation_failure" in first) == (True, 6, False)
    assert (second["compiled"], second["compilation_failure"]) == (False, "RuntimeError")
    assert 6 <= second["first_lead_hours"] <= 24
    assert any("could not be compiled (RuntimeError)" in warning for warning in receipt["warnings"])
    assert any("computed in 2 ways" in warning for warning in receipt["warnings"])
    assert caplog.text.count("Networks cannot be compiled") == 1
