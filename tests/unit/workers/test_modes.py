"""How networks are evaluated: a forecast keeps the mode in which it began, and the first one is not compiled."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.forecasts import ForecastRecord
from jobs.mode import Mode, settle_mode
from jobs.planning.measured import load_estimator
from jobs.rows.database import Database
from jobs.settings import Settings
from models import compilation
from models.forecaster import Forecaster
from tests.helpers import wait_until
from tests.rows import read_forecast
from workers.loop import Worker

Submit = Callable[..., ForecastRecord]

COMPILED = Mode(compiled=True, precision="float32")
EAGER = Mode(compiled=False, precision="float32")


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace compilation: a compiled function is the function itself. The list holds what was compiled."""
    compiled: list[Any] = []

    def compile_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled.append(function)
        return function

    monkeypatch.setattr(compilation, "_compile", compile_nothing)
    return compiled


@pytest.fixture
def compiling(settings: Settings, database: Database, compilations: list[Any]) -> Worker:
    """A worker that compiles; nothing is compiled yet."""
    assert compilations == []
    return Worker(settings.replace(compile="on", group_size=2), database)


def _run(worker: Worker, database: Database, forecast: ForecastRecord) -> tuple[Mode | None, list[bool]]:
    """Compute what waits; return the mode of a forecast and whether networks were compiled in each of its ways."""
    wait_until(lambda: not worker.run())
    record = read_forecast(database, forecast.id)
    assert record.receipt is not None, record
    return record.mode, [way["compiled"] for way in record.receipt["computations"]]


def test_the_first_forecast_is_eager_while_networks_compile_and_the_next_one_takes_the_compiled_ones(
    submit_forecast: Submit, compiling: Worker, database: Database, compilations: list[Any]
) -> None:
    assert _run(compiling, database, submit_forecast()) == (EAGER, [False])
    compiling.wait_for_compilation()
    assert len(compilations) == 2
    assert _run(compiling, database, submit_forecast()) == (COMPILED, [True])
    assert len(compilations) == 2
    with database.read() as connection:
        assert next(iter(load_estimator(connection).compile_seconds.values())) > 0


@pytest.mark.parametrize(("mode", "compiled"), [(COMPILED, True), (EAGER, False)])
def test_a_forecast_is_resumed_in_its_mode_whatever_is_compiled(
    submit_forecast: Submit, compiling: Worker, database: Database, mode: Mode, compiled: bool
) -> None:
    if not compiled:
        _run(compiling, database, submit_forecast())
        compiling.wait_for_compilation()
    forecast = submit_forecast()
    with database.write() as connection:
        assert settle_mode(connection, forecast.id, mode) == mode
    assert _run(compiling, database, forecast) == (mode, [compiled])


def test_a_worker_that_cannot_compile_computes_a_compiled_forecast_all_the_same(
    submit_forecast: Submit, settings: Settings, database: Database
) -> None:
    forecast = submit_forecast()
    with database.write() as connection:
        settle_mode(connection, forecast.id, COMPILED)
    assert _run(Worker(settings.replace(compile="off"), database), database, forecast) == (COMPILED, [False])


def test_the_precision_is_that_of_the_forecast_and_not_of_the_worker(
    submit_forecast: Submit, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[str] = set()
    advance = Forecaster._advance  # what every step calls

    def record(forecaster: Forecaster, *inputs: Any) -> Any:
        used.add(forecaster.execution.precision)
        return advance(forecaster, *inputs)

    forecast = submit_forecast()
    with database.write() as connection:
        settle_mode(connection, forecast.id, Mode(compiled=False, precision="bfloat16"))
    worker = Worker(settings.replace(group_size=2), database)
    monkeypatch.setattr(Forecaster, "_advance", record)
    mode, _ = _run(worker, database, forecast)
    assert mode == Mode(compiled=False, precision="bfloat16")
    assert used == {"bfloat16"}
    assert worker.machine.device_kind == "cpu, bfloat16"


def test_a_mode_is_settled_once(submit_forecast: Submit, database: Database) -> None:
    forecast = submit_forecast()
    assert read_forecast(database, forecast.id).mode is None
    for _ in range(2):
        with database.write() as connection:
            assert settle_mode(connection, forecast.id, EAGER) == EAGER
    with database.write() as connection:
        assert settle_mode(connection, forecast.id, COMPILED) == EAGER


def test_the_mode_is_part_of_the_kind_of_device_that_speeds_are_measured_on() -> None:
    assert EAGER.device_kind("cpu") == "cpu"
    assert Mode(compiled=True, precision="bfloat16").device_kind("cuda: NVIDIA H100") == (
        "cuda: NVIDIA H100, compiled, bfloat16"
    )
