import logging
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from sqlalchemy import text, update

from jobs.counters import EVALUATIONS, GPU_MEMORY, NONFINITE, STEP_BUCKETS, STEP_SECONDS, Tally
from jobs.forecasts import ForecastRecord
from jobs.quality import save_diagnostics, save_verification
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from jobs.settings import Settings
from service.key_metrics import KeysCollector
from service.metrics import LEAD_HOURS, Metrics, RowsCollector
from tests.clock import MovableClock
from tests.rows import cancel_forecast, claim_all, commit_lead_times, create_key, record_heartbeat, succeed
from tests.servers import free_port

Submit = Callable[..., ForecastRecord]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

MODEL = "untrained"
"""Name of the checkpoint of these forecasts."""


@pytest.fixture
def scrape(settings: Settings, database: Database) -> Callable[[], Series]:
    """Return the value of every series that the service exports now, read back from the text format."""
    return lambda: _scrape(settings, database)


def _scrape(settings: Settings, database: Database) -> Series:
    return _read(RowsCollector(settings, database))


def _read(collector: Collector) -> Series:
    metrics = Metrics() if isinstance(collector, RowsCollector) else SimpleNamespace(registry=CollectorRegistry())
    metrics.registry.register(collector)
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def _value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((name, frozenset(labels.items())))


def _labels(series: Series, name: str) -> list[dict[str, str]]:
    return [dict(labels) for known, labels in series if known == name]


def _ended(series: Series, status: str) -> float | None:
    return _value(series, "warmcast_jobs_total", model=MODEL, status=status)


def test_forecasts_are_counted_by_model_and_status_from_zero(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    before = scrape()
    statuses = {"successful", "failed", "dismissed"}
    assert {(_ended(before, status)) for status in statuses} == {0}
    assert {labels["model"] for labels in _labels(before, "warmcast_jobs_total")} >= {MODEL, "planet"}
    for _ in range(2):
        succeed(database, submit_forecast(checkpoint=MODEL))
    cancel_forecast(database, submit_forecast(checkpoint=MODEL).id, "local")
    submit_forecast(checkpoint=MODEL)
    after = scrape()
    assert {status: _ended(after, status) for status in statuses} == {"successful": 2, "failed": 0, "dismissed": 1}
    assert _value(after, "warmcast_jobs_total", model="planet", status="successful") == 0


def test_forecasts_of_a_model_that_was_removed_are_still_counted(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    succeed(database, submit_forecast(checkpoint="removed"))
    assert _value(scrape(), "warmcast_jobs_total", model="removed", status="successful") == 1


def test_the_queue_is_measured_by_its_length_and_its_oldest_forecast(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    depth, age = "warmcast_queue_depth", "warmcast_queue_oldest_age_seconds"
    empty = scrape()
    assert [_value(empty, depth, status=status) for status in ("accepted", "running")] == [0, 0]
    assert _value(empty, age) == 0
    submit_forecast()
    commit_lead_times(database, 1)
    clock.advance(1000)
    submit_forecast()
    clock.advance(50)
    submit_forecast()
    series = scrape()
    assert [_value(series, depth, status=status) for status in ("accepted", "running")] == [2, 1]
    assert _value(series, age) == pytest.approx(50, abs=5)  # not 1050: the oldest forecast runs already


def test_store_bytes_are_those_of_available_data(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    first = succeed(database, submit_forecast(), store_bytes=1000)
    succeed(database, submit_forecast(), store_bytes=200)
    submit_forecast()
    assert _value(scrape(), "warmcast_store_bytes") == 1200
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == first.id).values(data="expired"))
    assert _value(scrape(), "warmcast_store_bytes") == 200


def test_durations_are_counted_in_cumulative_buckets(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    for wait, run in ((7, 100), (20, 4000)):
        record = submit_forecast(checkpoint=MODEL)
        clock.advance(wait)
        claimed = claim_all(database)
        clock.advance(run)
        succeed(database, record, claimed=claimed)
    series = scrape()

    def counts(kind: str) -> dict[float, float]:
        name, bounds = f"warmcast_{kind}_seconds_bucket", (5.0, 10.0, 30.0, 120.0, 3600.0, 7200.0, math.inf)
        found = {
            float(dict(labels)["le"]): value
            for (known, labels), value in series.items()
            if known == name and ("model", MODEL) in labels
        }
        return {bound: found[bound] for bound in bounds}

    assert counts("job_wait") == {5: 0, 10: 1, 30: 2, 120: 2, 3600: 2, 7200: 2, math.inf: 2}
    assert counts("job_run") == {5: 0, 10: 0, 30: 0, 120: 1, 3600: 1, 7200: 2, math.inf: 2}
    assert counts("time_to_first_lead") == {5: 0, 10: 0, 30: 0, 120: 1, 3600: 1, 7200: 2, math.inf: 2}
    assert _value(series, "warmcast_job_run_seconds_sum", model=MODEL) == pytest.approx(4100, abs=10)
    assert _value(series, "warmcast_job_run_seconds_count", model="planet") == 0


def test_each_live_worker_has_a_series_and_a_lost_one_has_none(
    scrape: Callable[[], Series], database: Database, clock: MovableClock
) -> None:
    tally = Tally()
    tally.set(GPU_MEMORY, value=3e9)
    record_heartbeat(database, "gpu", "cuda:0", tally.samples())
    clock.advance(20)
    record_heartbeat(database, "cpu", "cpu", {})
    series = scrape()
    assert _value(series, "warmcast_worker_up", worker="gpu", device="cuda:0") == 1
    assert _value(series, "warmcast_worker_up", worker="cpu", device="cpu") == 1
    assert _value(series, "warmcast_gpu_memory_bytes", worker="gpu", device="cuda:0") == 3e9
    assert _labels(series, "warmcast_gpu_memory_bytes") == [{"worker": "gpu", "device": "cuda:0"}]
    clock.advance(15)
    assert _labels(scrape(), "warmcast_worker_up") == [{"worker": "cpu", "device": "cpu"}]
    assert _labels(scrape(), "warmcast_gpu_memory_bytes") == []


def test_counts_of_workers_are_summed_and_kept_after_their_end(
    scrape: Callable[[], Series], database: Database, clock: MovableClock
) -> None:
    zero = scrape()
    assert _value(zero, "warmcast_network_evaluations_total", model=MODEL) == 0
    assert _value(zero, "warmcast_rollout_step_seconds_count", model=MODEL, phase="flow") == 0
    for name, evaluations, seconds in (("a", 10, 0.2), ("b", 32, 7.0)):
        tally = Tally()
        tally.count(EVALUATIONS, MODEL, by=evaluations)
        tally.count(NONFINITE, MODEL)
        tally.observe(STEP_SECONDS, MODEL, "flow", value=seconds)
        record_heartbeat(database, name, "cpu", tally.samples())
    clock.advance(2 * 86400)
    record_heartbeat(database, "c", "cpu", {})
    series = scrape()
    assert _value(series, "warmcast_network_evaluations_total", model=MODEL) == 42
    assert _value(series, "warmcast_member_nonfinite_total", model=MODEL) == 2
    assert _value(series, "warmcast_rollout_step_seconds_sum", model=MODEL, phase="flow") == 7.2
    buckets = [
        _value(series, "warmcast_rollout_step_seconds_bucket", model=MODEL, phase="flow", le=str(bound))
        for bound in (*STEP_BUCKETS, "+Inf")
    ]
    assert buckets == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2]


def _figures(spread: float | None, log_ratio: dict[str, float]) -> dict[str, Any]:
    return {"variables": {"u10": {"spread": spread, "power": [1.0], "log_ratio": log_ratio}}, "nonfinite_members": []}


def test_quality_is_exported_at_few_lead_times_of_the_newest_forecast_of_each_model(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    older, newer = submit_forecast(), submit_forecast()
    with database.write() as connection:
        for hours in (6, 12, 24):
            save_diagnostics(connection, older.id, MODEL, {hours: _figures(1.0, {"planetary": -0.5})})
        save_diagnostics(connection, newer.id, MODEL, {6: _figures(2.5, {"planetary": 0.25, "meso": -1.0})})
    series = scrape()
    spread = {labels["lead_hours"] for labels in _labels(series, "warmcast_spread")}
    assert spread == {"6", "24"}
    assert _value(series, "warmcast_spread", model=MODEL, variable="u10", lead_hours="6") == 2.5
    assert _value(series, "warmcast_spread", model=MODEL, variable="u10", lead_hours="24") == 1.0
    ratio = {"model": MODEL, "variable": "u10", "lead_hours": "6"}
    assert _value(series, "warmcast_spectrum_log_ratio", **ratio, band="planetary") == 0.25
    assert _value(series, "warmcast_spectrum_log_ratio", **ratio, band="meso") == -1.0


def test_a_single_member_has_no_spread(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    record = submit_forecast(members=1)
    with database.write() as connection:
        save_diagnostics(connection, record.id, MODEL, {6: _figures(None, {})})
    assert _labels(scrape(), "warmcast_spread") == []


def test_a_score_that_is_not_finite_has_no_series(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    record, scores = submit_forecast(), _scores(1.0, [6])
    scores["scores"]["u10"][0] |= {"spread_skill": math.inf, "rmse": math.nan}
    with database.write() as connection:
        save_verification(connection, record.id, MODEL, "era5", scores)
        save_diagnostics(connection, record.id, MODEL, {6: _figures(1.0, {"planetary": -math.inf, "meso": 0.5})})
    series = scrape()
    assert _labels(series, "warmcast_spread_skill_ratio") == _labels(series, "warmcast_rmse") == []
    assert len(_labels(series, "warmcast_crps")) == 2
    assert [labels["band"] for labels in _labels(series, "warmcast_spectrum_log_ratio")] == ["meso"]


def _scores(crps: float, lead_hours: Iterable[int] = (6, 12)) -> dict[str, Any]:
    rows = [
        {"lead_hours": hours, "crps_fair": crps, "crps_biased": 2 * crps, "rmse": 3.0, "spread_skill": 0.9}
        | {"ranks": [0.25, 0.5, 0.25]}
        for hours in lead_hours
    ]
    return {"scores": {"u10": rows}}


def test_scores_are_those_of_the_newest_verification_against_each_truth(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    record = submit_forecast()
    with database.write() as connection:
        for reference, crps in (("era5", 1.5), ("era5", 1.25), ("waves", 0.5)):
            save_verification(connection, record.id, MODEL, reference, _scores(crps))
    series = scrape()
    of_6h = {"model": MODEL, "variable": "u10", "lead_hours": "6"}
    assert _value(series, "warmcast_crps", **of_6h, reference="era5", estimator="fair") == 1.25
    assert _value(series, "warmcast_crps", **of_6h, reference="era5", estimator="biased") == 2.5
    assert _value(series, "warmcast_crps", **of_6h, reference="waves", estimator="fair") == 0.5
    assert _value(series, "warmcast_rmse", **of_6h, reference="era5") == 3
    assert _value(series, "warmcast_spread_skill_ratio", **of_6h, reference="era5") == 0.9
    shares = [_value(series, "warmcast_rank_share", **of_6h, reference="era5", bin=f"{rank:03d}") for rank in range(3)]
    assert shares == [0.25, 0.5, 0.25]
    assert {labels["lead_hours"] for labels in _labels(series, "warmcast_crps")} == {"6"}


def test_the_number_of_series_does_not_grow_with_the_number_of_forecasts(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    def run_one(reference: str) -> int:
        record = succeed(database, submit_forecast(checkpoint=MODEL))
        with database.write() as connection:
            for hours in range(6, 246, 6):
                save_diagnostics(connection, record.id, MODEL, {hours: _figures(1.0, {"planetary": 0.0})})
            save_verification(connection, record.id, MODEL, reference, _scores(1.0, range(6, 246, 6)))
        return len(scrape())

    assert run_one("era5") == run_one("era5")
    series = scrape()
    hours = {value for _, labels in series for label, value in labels if label == "lead_hours"}
    assert hours == {str(hours) for hours in LEAD_HOURS}


def test_neither_ids_nor_owners_are_labels(
    scrape: Callable[[], Series], database: Database, submit_forecast: Submit
) -> None:
    record = succeed(database, submit_forecast(owner="key_0123456789"))
    values = {value for _, labels in scrape() for _, value in labels}
    assert not values & {record.id, record.owner}


def test_an_operator_may_have_metrics_of_a_limited_number_of_keys(
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    quiet, busy = (create_key(database, name)[0].id for name in ("quiet", "busy"))
    succeed(database, submit_forecast(owner=quiet))
    clock.advance(31 * 86400)
    succeed(database, submit_forecast(owner=busy))
    cancel_forecast(database, submit_forecast(owner=busy).id, busy)
    submit_forecast(owner=busy)
    series = _read(KeysCollector(database, 1))
    assert {dict(labels)["key"] for _, labels in series} == {busy}
    assert _value(series, "warmcast_key_open_forecasts", key=busy) == 1
    assert _value(series, "warmcast_key_submissions_total", key=busy) == 3
    assert _value(series, "warmcast_key_jobs_total", key=busy, status="successful") == 1
    assert _value(series, "warmcast_key_jobs_total", key=busy, status="dismissed") == 1
    assert _value(series, "warmcast_key_evaluations_total", key=busy) == 60
    assert (_value(series, "warmcast_key_kept_bytes", key=busy) or 0) > 0
    assert {dict(labels)["key"] for _, labels in _read(KeysCollector(database, 9))} == {busy}
    succeed(database, submit_forecast(owner=quiet, seed=4))
    assert {dict(labels)["key"] for _, labels in _read(KeysCollector(database, 9))} == {busy, quiet}
    assert len({dict(labels)["key"] for _, labels in _read(KeysCollector(database, 1))}) == 1


@pytest.mark.parametrize("fault", ["no server", "no table"])
def test_a_database_that_fails_leaves_the_metrics_of_the_disk(
    settings: Settings, database: Database, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    if fault == "no table":
        with database.write() as connection:
            connection.execute(text("ALTER TABLE worker RENAME TO away"))
        failing = database
    else:
        failing = Database(f"postgresql+pg8000://warmcast@127.0.0.1:{free_port()}/warmcast")
    with caplog.at_level(logging.WARNING, "service.metrics"):
        series = _scrape(settings, failing)
    assert _value(series, "warmcast_database_up") == 0
    assert _value(series, "warmcast_store_free_bytes") is not None
    assert {name for name, _ in series} == {
        "warmcast_database_up",
        "warmcast_store_free_bytes",
        "warmcast_build_info",
        "warmcast_lost_folders",
    } | {"warmcast_chunk_bytes_sent_total", "warmcast_schedule_outcomes_total"}
    assert "The database cannot be reached" in caplog.text


def test_the_free_space_is_that_of_the_data_folder(
    scrape: Callable[[], Series], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes = {tmp_path: SimpleNamespace(free=123)}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: sizes[path])
    assert _value(scrape(), "warmcast_store_free_bytes") == 123
    assert _value(scrape(), "warmcast_database_up") == 1


def test_registering_the_collector_reads_no_database(settings: Settings) -> None:
    unreachable = Database(f"postgresql+pg8000://warmcast@127.0.0.1:{free_port()}/warmcast")
    assert list(RowsCollector(settings, unreachable).describe()) == []


def test_two_services_in_one_process_have_separate_counts() -> None:
    first, second = Metrics(), Metrics()
    first.chunk_bytes.inc(10)
    assert first.registry.get_sample_value("warmcast_chunk_bytes_sent_total") == 10
    assert second.registry.get_sample_value("warmcast_chunk_bytes_sent_total") == 0
