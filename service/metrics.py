"""The metrics of the service: those that the API process counts, and those read from the database at each scrape."""

import importlib.metadata
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from jobs.checks import count_damaged, seconds_unchecked
from jobs.counters import METRICS, Sample, cumulative_histogram
from jobs.dispatching.live_workers import list_live_workers, read_gauges, sum_counters
from jobs.quality import latest_diagnostics, latest_verifications
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Status
from jobs.schedule_figures import OUTCOMES, read_figures
from jobs.schedule_polls import list_polls
from jobs.settings import Settings
from jobs.totals import DURATIONS, count_by_status, count_queue, duration_histograms, store_bytes
from service.readiness import Readiness
from storage.errors import InstallationError
from weather.bundled import list_checkpoints

LEAD_HOURS = (6, 24, 72, 120, 240)
"""Lead times of the quality metrics in hours; few, to limit the number of series."""

_log = logging.getLogger(__name__)
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """A Prometheus registry and the metrics of this process in it."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "warmcast_http_request_seconds",
            "Seconds until the response begins.",
            ["route", "method", "code"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.chunk_bytes = Counter("warmcast_chunk_bytes_sent", "Bytes of ensemble data sent.", registry=self.registry)
        self.lost_folders = Gauge(
            "warmcast_lost_folders",
            "Folders of forecasts that had no row in the database and were moved aside.",
            registry=self.registry,
        )
        self.deliveries = Counter(
            "warmcast_webhook_deliveries",
            "Attempts to deliver an event to a callback, by result.",
            ["result"],
            registry=self.registry,
        )
        self.scheduled = Counter(
            "warmcast_schedule_outcomes",
            "What has come of the cycles of schedules and of the verification of their forecasts.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in OUTCOMES:
            self.scheduled.labels(outcome)
        self.fetches = Counter(
            "warmcast_dataset_requests",
            "Requests to the servers of data sets, by result: received, absent, repeated, failed or refused.",
            ["dataset", "result"],
            registry=self.registry,
        )
        self.fetched_bytes = Counter(
            "warmcast_dataset_bytes",
            "Bytes received from the servers of data sets.",
            ["dataset"],
            registry=self.registry,
        )
        build = Gauge("warmcast_build_info", "Version of the service; always 1.", ["version"], registry=self.registry)
        build.labels(importlib.metadata.version("warmcast")).set(1)

    def count(self, dataset: str, result: str, size_bytes: int) -> None:
        """Count a request to a server of a data set."""
        self.fetches.labels(dataset, result).inc()
        self.fetched_bytes.labels(dataset).inc(size_bytes)


class RowsCollector(Collector):
    """Collects metrics from the database and the disk; while the database fails, only those of the disk."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database

    def describe(self) -> Iterable[Metric]:
        """Return no metrics, so that registration does not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        free = GaugeMetricFamily("warmcast_store_free_bytes", "Free bytes on the disk of the data folder.")
        with suppress(FileNotFoundError):
            free.add_metric([], shutil.disk_usage(self._settings.storage.data).free)
        yield free
        up = GaugeMetricFamily("warmcast_database_up", "Whether the database answers.")
        try:
            with self._database.read() as connection:
                models = list_checkpoints(self._settings.storage.checkpoint_folders)
                families = [
                    *_collect_forecasts(connection, models),
                    *_collect_workers(connection, models),
                    *_collect_quality(connection),
                    *_collect_checks(connection),
                    *_collect_schedules(connection),
                ]
        except (SQLAlchemyError, OSError, InstallationError) as error:
            _log.warning("The database cannot be reached: %s", error)
            families = []
        up.add_metric([], float(bool(families)))
        yield up
        yield from families


class ReadinessCollector(Collector):
    """Collects the results of the readiness checks."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def describe(self) -> Iterable[Metric]:
        """Return no metrics, so that registration makes no check."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield one series for each check."""
        ready = GaugeMetricFamily("warmcast_ready", "Whether a readiness check passes.", labels=["check"])
        for name, failure in self._readiness.wait_for_results().items():
            ready.add_metric([name], float(failure is None))
        yield ready


def _collect_forecasts(connection: Connection, models: Sequence[str]) -> Iterator[Metric]:
    """Yield counts, queue, store size and durations.

    Counters of known models start at 0, so that Prometheus sees an increase at the first forecast.
    """
    jobs = CounterMetricFamily("warmcast_jobs", "Forecasts that have ended.", labels=["model", "status"])
    ended = {(model, str(status)): 0 for model in models for status in Status if status not in OPEN}
    ended |= {(model, status): number for model, status, number in count_by_status(connection)}
    for labels, number in ended.items():
        jobs.add_metric(labels, number)
    yield jobs
    waiting, running, oldest = count_queue(connection)
    depth = GaugeMetricFamily("warmcast_queue_depth", "Forecasts that have not ended.", labels=["status"])
    depth.add_metric(["accepted"], waiting)
    depth.add_metric(["running"], running)
    yield depth
    age = GaugeMetricFamily("warmcast_queue_oldest_age_seconds", "Seconds that the oldest waiting forecast has waited.")
    age.add_metric([], oldest)
    yield age
    size = GaugeMetricFamily("warmcast_store_bytes", "Bytes of the size ensembles.")
    size.add_metric([], store_bytes(connection))
    yield size
    for kind in DURATIONS:
        family = HistogramMetricFamily(kind.name, kind.help, labels=["model"])
        zeros = {model: ([(end, 0.0) for end in kind.bounds], 0.0) for model in models}
        for model, (buckets, total) in (zeros | duration_histograms(connection, kind)).items():
            family.add_metric([model], buckets, total)
        yield family


def _collect_checks(connection: Connection) -> Iterator[Metric]:
    """Yield what checks of stored files have found, and how long ago the least recent one was."""
    yield GaugeMetricFamily(
        "warmcast_damaged_forecasts", "Forecasts of which stored files are damaged.", count_damaged(connection)
    )
    yield GaugeMetricFamily(
        "warmcast_unchecked_seconds",
        "Seconds for which the files of some forecast have not been checked.",
        seconds_unchecked(connection),
    )


def _collect_workers(connection: Connection, models: Sequence[str]) -> Iterator[Metric]:
    """Yield liveness and GPU memory of each worker, and the sums of what all workers have counted."""
    up = GaugeMetricFamily("warmcast_worker_up", "1 for each worker that is alive.", labels=["worker", "device"])
    memory = GaugeMetricFamily(
        "warmcast_gpu_memory_bytes", METRICS["warmcast_gpu_memory_bytes"].help, labels=["worker", "device"]
    )
    for worker in list_live_workers(connection):
        up.add_metric([worker.id, worker.device], 1)
        for value in read_gauges(connection, worker.id).values():
            memory.add_metric([worker.id, worker.device], value)
    yield up
    yield memory
    counters = sum_counters(connection)
    for metric in METRICS.values():
        label_sets = {sample.labels for sample in counters if sample.metric == metric.name}
        label_sets |= {(model, *rest) for model in models for rest in metric.known}
        if metric.kind == "counter":
            counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels in sorted(label_sets):
                counter.add_metric(labels, counters.get(Sample(metric.name, labels), 0.0))
            yield counter
        elif metric.kind == "histogram":
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels in sorted(label_sets):
                histogram.add_metric(labels, *cumulative_histogram(metric, labels, counters))
            yield histogram


def _collect_quality(connection: Connection) -> Iterator[Metric]:
    """Yield spread and spectra of each model's newest ensemble, and the scores of its newest verifications."""
    names = ["model", "variable", "lead_hours"]
    spread = GaugeMetricFamily(
        "warmcast_spread", "Spread of the newest ensemble, in the variable's unit.", labels=names
    )
    ratio = GaugeMetricFamily(
        "warmcast_spectrum_log_ratio",
        "Logarithm (base 10) of the members' power over the initial state's, by scale.",
        labels=[*names, "band"],
    )
    for model, lead_hours, diagnostics in latest_diagnostics(connection, LEAD_HOURS):
        for variable, values in diagnostics["variables"].items():
            labels = [model, variable, str(lead_hours)]
            _add_if_finite(spread, labels, values["spread"])
            for band, value in values["log_ratio"].items():
                _add_if_finite(ratio, [*labels, band], value)
    yield from (spread, ratio)
    yield from _collect_scores(latest_verifications(connection))


def _collect_scores(verifications: Iterable[tuple[str, str, dict[str, Any]]]) -> Iterator[Metric]:
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
                if row["lead_hours"] not in LEAD_HOURS:
                    continue
                values = [model, variable, str(row["lead_hours"]), reference]
                _add_if_finite(crps, [*values, "fair"], row["crps_fair"])
                _add_if_finite(crps, [*values, "biased"], row["crps_biased"])
                _add_if_finite(rmse, values, row["rmse"])
                _add_if_finite(skill, values, row["spread_skill"])
                for index, share in enumerate(row["ranks"]):
                    ranks.add_metric([*values, f"{index:03d}"], share)
    yield from (crps, rmse, skill, ranks)


def _collect_schedules(connection: Connection) -> Iterator[Metric]:
    """Yield late and failed runs, the next cycle, and the newest analysis of each data set that schedules use."""
    labels = ["dataset", "schedule"]
    late = GaugeMetricFamily("warmcast_schedule_late_runs", "Cycles that wait and are late.", labels=labels)
    failed = GaugeMetricFamily(
        "warmcast_schedule_failed_runs", "Cycles of the last day without a successful forecast.", labels=labels
    )
    next_cycle = GaugeMetricFamily(
        "warmcast_schedule_next_cycle_timestamp_seconds", "Initial time of the next cycle.", labels=labels
    )
    for key, figures in read_figures(connection).items():
        late.add_metric(key, figures.late)
        failed.add_metric(key, figures.failed)
        if figures.next_cycle is not None:
            next_cycle.add_metric(key, figures.next_cycle)
    newest = GaugeMetricFamily(
        "warmcast_dataset_newest_analysis_timestamp_seconds",
        "Newest initial time of a data set that schedules wait for.",
        labels=["dataset"],
    )
    late_after = GaugeMetricFamily(
        "warmcast_dataset_late_after_seconds",
        "Age of its newest analysis above which a data set that schedules wait for is late.",
        labels=["dataset"],
    )
    for poll in list_polls(connection):
        late_after.add_metric([poll.dataset], 3600 * poll.late_hours)
        if poll.newest is not None:
            newest.add_metric([poll.dataset], poll.newest)
    yield from (late, failed, next_cycle, newest, late_after)


def _add_if_finite(family: GaugeMetricFamily, labels: Sequence[str], value: float | None) -> None:
    """Add a series, unless its value was not finite, which rows keep as None."""
    if value is not None:
        family.add_metric(labels, value)
