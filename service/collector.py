"""Metrics that are read from the rows at each scrape: one target tells of every worker, on whatever machine."""

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.figures import latest_diagnostics, latest_verifications
from jobs.measures import MEASURES, Sample, histogram_of
from jobs.settings import Settings
from jobs.states import OPEN, Status
from jobs.statistics import DURATIONS, count_by_status, durations, queue, store_bytes
from jobs.workers import alive, gauges, totals
from weather.bundled import known_checkpoints

SHOWN_HOURS = (6, 24, 72, 120, 240)
"""Lead times of quality metrics: a few, so that their series stay few."""

_log = logging.getLogger(__name__)


class RowsCollector(Collector):
    """Reads the database and the disk; where the database is away, tells only that."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database

    def describe(self) -> Iterable[Metric]:
        """Return nothing: nothing is read before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        free = GaugeMetricFamily("warmcast_store_free_bytes", "Bytes that are free where data lies.")
        free.add_metric([], shutil.disk_usage(self._settings.data).free)
        yield free
        up = GaugeMetricFamily("warmcast_database_up", "Whether the database answers.")
        try:
            with self._database.read() as connection:
                models = known_checkpoints(self._settings.checkpoint_folders)
                families = [*_forecasts(connection, models), *_workers(connection, models), *_quality(connection)]
        except SQLAlchemyError as error:
            _log.warning("The database was not reached: %s", error)
            families = []
        up.add_metric([], float(bool(families)))
        yield up
        yield from families


def _forecasts(connection: Connection, models: Sequence[str]) -> Iterator[Metric]:
    """Yield what forecasts say together; counters of known models begin at 0, so that the first is an increase."""
    jobs = CounterMetricFamily("warmcast_jobs", "Forecasts that have ended.", labels=["model", "status"])
    ended = {(model, str(status)): 0 for model in models for status in Status if status not in OPEN}
    ended |= {(model, status): number for model, status, number in count_by_status(connection)}
    for labels, number in ended.items():
        jobs.add_metric(labels, number)
    yield jobs
    waiting, running, oldest = queue(connection)
    depth = GaugeMetricFamily("warmcast_queue_depth", "Forecasts that have not ended.", labels=["status"])
    depth.add_metric(["accepted"], waiting)
    depth.add_metric(["running"], running)
    yield depth
    age = GaugeMetricFamily("warmcast_queue_oldest_age_seconds", "How long the oldest forecast that waits has done so.")
    age.add_metric([], oldest)
    yield age
    stored = GaugeMetricFamily("warmcast_store_bytes", "Bytes of the ensembles that are kept.")
    stored.add_metric([], store_bytes(connection))
    yield stored
    for kind in DURATIONS:
        family = HistogramMetricFamily(kind.name, kind.help, labels=["model"])
        nothing = {model: ([(end, 0.0) for end in kind.ends], 0.0) for model in models}
        for model, (buckets, total) in (nothing | durations(connection, kind)).items():
            family.add_metric([model], buckets, total)
        yield family


def _workers(connection: Connection, models: Sequence[str]) -> Iterator[Metric]:
    up = GaugeMetricFamily("warmcast_worker_up", "A worker that is alive.", labels=["worker", "device"])
    memory = GaugeMetricFamily(
        "warmcast_gpu_memory_bytes", MEASURES["warmcast_gpu_memory_bytes"].help, labels=["worker", "device"]
    )
    for worker in alive(connection):
        up.add_metric([worker.id, worker.device], 1)
        for value in gauges(connection, worker.id).values():
            memory.add_metric([worker.id, worker.device], value)
    yield up
    yield memory
    counted = totals(connection)
    for measure in MEASURES.values():
        of_measure = {sample.labels for sample in counted if sample.measure == measure.name}
        of_measure |= {(model, *rest) for model in models for rest in measure.known}
        if measure.kind == "counter":
            counter = CounterMetricFamily(measure.name, measure.help, labels=measure.labels)
            for labels in sorted(of_measure):
                counter.add_metric(labels, counted.get(Sample(measure.name, labels), 0.0))
            yield counter
        elif measure.kind == "histogram":
            histogram = HistogramMetricFamily(measure.name, measure.help, labels=measure.labels)
            for labels in sorted(of_measure):
                histogram.add_metric(labels, *histogram_of(measure, labels, counted))
            yield histogram


def _quality(connection: Connection) -> Iterator[Metric]:
    spread = GaugeMetricFamily(
        "warmcast_spread", "Spread of the newest ensemble, in the variable's unit.",
        labels=["model", "variable", "lead_hours"],
    )  # fmt: skip
    ratio = GaugeMetricFamily(
        "warmcast_spectrum_log_ratio", "Logarithm (base 10) of the members' power over the initial state's, by scale.",
        labels=["model", "variable", "lead_hours", "band"],
    )  # fmt: skip
    for model, hours, figures in latest_diagnostics(connection, SHOWN_HOURS):
        for variable, told in figures["variables"].items():
            labels = [model, variable, str(hours)]
            if told["spread"] is not None:
                spread.add_metric(labels, told["spread"])
            for band, value in told["log_ratio"].items():
                ratio.add_metric([*labels, band], value)
    yield from (spread, ratio)
    yield from _scores(latest_verifications(connection))


def _scores(verifications: Iterable[tuple[str, str, dict[str, Any]]]) -> Iterator[Metric]:
    labels = ["model", "variable", "lead_hours", "reference"]
    crps = GaugeMetricFamily(
        "warmcast_crps", "CRPS of the newest verification, in the variable's unit.", labels=[*labels, "estimator"]
    )
    rmse = GaugeMetricFamily("warmcast_rmse", "RMSE of the ensemble mean, in the variable's unit.", labels=labels)
    skill = GaugeMetricFamily(
        "warmcast_spread_skill_ratio", "Spread over the error of the mean; 1 for a reliable ensemble.", labels=labels
    )
    ranks = GaugeMetricFamily(
        "warmcast_rank_share", "Share of the truth in each rank among the members.", labels=[*labels, "bin"]
    )
    for model, reference, scores in verifications:
        for variable, rows in scores["scores"].items():
            for row in rows:
                if row["lead_hours"] not in SHOWN_HOURS:
                    continue
                values = [model, variable, str(row["lead_hours"]), reference]
                crps.add_metric([*values, "fair"], row["crps_fair"])
                crps.add_metric([*values, "biased"], row["crps_biased"])
                rmse.add_metric(values, row["rmse"])
                skill.add_metric(values, row["spread_skill"])
                for index, share in enumerate(row["ranks"]):
                    ranks.add_metric([*values, f"{index:03d}"], share)
    yield from (crps, rmse, skill, ranks)
