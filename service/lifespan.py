"""Open and close everything that an API process holds: database, dispatcher, storage, worker, periodic tasks."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from socketserver import StreamRequestHandler
from typing import cast

from prometheus_client import start_http_server
from prometheus_client.registry import Collector

from jobs.audit import delete_old_audit
from jobs.dispatching.clock_jumps import ClockWatch
from jobs.dispatching.dispatch import CeleryDispatcher, Dispatcher, LocalDispatcher
from jobs.dispatching.reconcile import reconcile
from jobs.dispatching.supervisor import Supervisor
from jobs.events import Event, delete_old_events, list_new_events
from jobs.forecasts import ForecastRecord, read_forecasts
from jobs.installation import Installation, open_installation
from jobs.periodic import Periodic
from jobs.retention import expire_data, sweep_folders
from jobs.rows.database import Database
from jobs.schedule_latest import delete_old_runs
from jobs.scrub import Pace, scrub
from jobs.settings import Settings, StorageSettings
from jobs.state_folders import sweep_states
from service.authentication import Callers
from service.batches import BatchReader
from service.dataset_metrics import DatasetsCollector
from service.datasets import Datasets, open_datasets
from service.dependencies import Service
from service.key_metrics import KeysCollector
from service.metrics import Metrics, ReadinessCollector, RowsCollector
from service.outlooks import Outlooks
from service.queues import Queues
from service.readiness import (
    Readiness,
    check_data_folder,
    check_database,
    check_disk,
    check_installation,
    check_workers,
)
from service.refusals import Refusals
from service.rendered_views import RenderedViews
from service.webhooks import WebhookSender
from storage.errors import ConfigurationError, DataDirectoryError
from storage.lock import lock_folder
from storage.scratch import own_temporary_folder, remove_abandoned_folders

_RETENTION_SECONDS, _CHECK_SECONDS, _USE_SECONDS = 60.0, 600.0, 60.0
_WEBHOOK_SECONDS, _DATASET_SECONDS = 1.0, 120.0
_UPLOADS = "uploads"
_METRICS_SECONDS = 10.0
"""Seconds for which a client of the metrics' own port may send nothing."""


def open_service(
    settings: Settings,
    metrics: Metrics,
    stack: ExitStack,
    *,
    only_loopback: bool,
    with_worker: bool,
    metrics_port: int | None,
    metrics_host: str = "127.0.0.1",
) -> Service:
    """Open what the routes share and start the periodic tasks; closing `stack` stops and closes all of it.

    With `with_worker` and the local dispatcher it also locks the data folder and keeps one worker process running.
    """
    has_own_worker = with_worker and settings.service.dispatcher == "local"
    if has_own_worker:
        in_use = DataDirectoryError(f"`{settings.storage.data}` is served by another process. Choose another --data.")
        stack.enter_context(lock_folder(settings.storage.data, in_use))
    installation = open_installation(settings.storage)
    database, storage = installation.database, installation.data
    stack.callback(database.close)
    settings.storage.data.mkdir(parents=True, exist_ok=True)
    database.reserve.hold()
    stack.enter_context(own_temporary_folder(settings.storage.data / _UPLOADS))
    dispatcher = _open_dispatcher(settings)
    stack.callback(dispatcher.close)
    readiness = _readiness_checks(settings, database, dispatcher)
    collectors: list[Collector] = [RowsCollector(settings, database), ReadinessCollector(readiness)]
    collectors += _key_collectors(settings, database, metrics_port)
    _open_metrics(metrics, collectors, metrics_host, metrics_port, stack)
    callers = Callers(database, needs_key=not only_loopback or settings.service.public_url is not None)
    stack.callback(callers.close)
    forecasts = BatchReader(partial(_read_forecasts, database), "forecasts")
    stack.callback(forecasts.close)
    outlooks = Outlooks(database)
    stack.callback(outlooks.close)
    events = BatchReader(partial(_read_events, database), "events")
    stack.callback(events.close)
    datasets = _open_datasets(settings, metrics, stack)
    queues, refused = Queues.open(settings.limits), Refusals(database)
    views = RenderedViews(settings.storage.keep_hours)
    shared = forecasts, outlooks, views, events, datasets
    service = Service(settings, database, dispatcher, storage, readiness, queues, callers, refused, *shared)
    _send_webhooks(settings, database, metrics, stack)
    for task in _upkeep_tasks(settings, installation, service, metrics):
        stack.enter_context(task)
    _check_files(settings.storage, installation, stack)
    if has_own_worker:
        stack.enter_context(Supervisor(settings))
    return service


def _open_datasets(settings: Settings, metrics: Metrics, stack: ExitStack) -> Datasets:
    """Return the data sets; the newest analyses of those that are fetched are looked up until `stack` closes."""
    datasets = open_datasets(settings, metrics)
    _open_metrics(metrics, [DatasetsCollector(datasets)], "", None, stack)
    if datasets.fetched_names():
        stack.enter_context(Periodic(datasets.refresh_all, _DATASET_SECONDS, "data sets"))
    return datasets


def _open_dispatcher(settings: Settings) -> Dispatcher:
    return LocalDispatcher() if settings.service.dispatcher == "local" else CeleryDispatcher(settings)


def _open_metrics(
    metrics: Metrics, collectors: Sequence[Collector], host: str, port: int | None, stack: ExitStack
) -> None:
    """Add collectors to the metrics of this process, and serve them at a port if any is given, until `stack` closes."""
    for collector in collectors:
        metrics.registry.register(collector)
        stack.callback(metrics.registry.unregister, collector)
    if port is not None:
        _serve_metrics(metrics, host, port, stack)


def _key_collectors(settings: Settings, database: Database, metrics_port: int | None) -> list[Collector]:
    """Return what collects the usage of keys if the settings want it; raise `ConfigurationError` without a port."""
    if not settings.service.metrics_keys:
        return []
    if metrics_port is None:
        raise ConfigurationError(
            "WARMCAST_METRICS_KEYS needs --metrics-port: every caller could read the usage of all keys at /metrics."
        )
    return [KeysCollector(database, settings.service.metrics_keys)]


def _upkeep_tasks(settings: Settings, installation: Installation, service: Service, metrics: Metrics) -> list[Periodic]:
    """Return the periodic tasks of the service: reconcile the work; expire data and sort folders out; save uses."""
    database, data = installation.database, installation.data

    watch = ClockWatch(database, settings.worker.lease_seconds)

    def reconcile_work() -> None:
        watch.check()
        reconcile(database, service.dispatcher, settings.worker.max_attempts)

    def apply_retention() -> None:
        database.write_at_any_cost(partial(expire_data, keep_hours=settings.storage.keep_hours))
        sweep_states(database, data, settings.storage.keep_hours)
        metrics.lost_folders.set(sweep_folders(database, data))
        database.write_at_any_cost(delete_old_events)
        database.write_at_any_cost(partial(delete_old_audit, days=settings.storage.audit_days))
        database.write_at_any_cost(partial(delete_old_runs, days=settings.storage.audit_days))
        database.reserve.hold()
        remove_abandoned_folders(settings.storage.data / _UPLOADS)

    return [
        Periodic(reconcile_work, settings.service.reconcile_seconds, "reconcile"),
        Periodic(apply_retention, min(_RETENTION_SECONDS, 60 * settings.service.reconcile_seconds), "retention"),
        Periodic(service.refusals.save, _USE_SECONDS, "refusals", delay_seconds=_USE_SECONDS),
        Periodic(service.callers.save_use, _USE_SECONDS, "use of keys", delay_seconds=_USE_SECONDS),
    ]


def _send_webhooks(settings: Settings, database: Database, metrics: Metrics, stack: ExitStack) -> None:
    """Send deliveries that are due, until `stack` closes, unless the settings allow no host."""
    hosts = settings.service.allowed_hosts
    if hosts.names or hosts.networks:
        sender = stack.enter_context(
            WebhookSender(database, hosts, lambda result: metrics.deliveries.labels(result).inc())
        )
        stack.enter_context(Periodic(sender.send_due, _WEBHOOK_SECONDS, "webhooks"))


def _check_files(settings: StorageSettings, installation: Installation, stack: ExitStack) -> None:
    """Check the stored files of forecasts from time to time, until `stack` closes, unless the settings say never."""
    if not settings.scrub_days:
        return
    pace = Pace(settings.scrub_bytes_per_second)
    check = partial(
        scrub, installation.database, installation.data, pace, unchecked_seconds=86_400 * settings.scrub_days
    )
    stack.enter_context(Periodic(check, _CHECK_SECONDS, "check of files", delay_seconds=_CHECK_SECONDS))
    stack.callback(pace.stop)


def _read_events(database: Database, positions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], list[Event]]:
    with database.read() as connection:
        return list_new_events(connection, positions)


def _read_forecasts(database: Database, forecast_ids: Sequence[str]) -> dict[str, ForecastRecord]:
    with database.read() as connection:
        return read_forecasts(connection, forecast_ids)


def _readiness_checks(settings: Settings, database: Database, dispatcher: Dispatcher) -> Readiness:
    readiness = Readiness()
    readiness.add("database", partial(check_database, database))
    readiness.add("installation", partial(check_installation, database))
    readiness.add("disk", partial(check_disk, database.reserve))
    readiness.add("data", partial(check_data_folder, settings.storage.data))
    readiness.add("worker", partial(check_workers, database))
    if settings.service.dispatcher == "celery":
        readiness.add("redis", dispatcher.failure)
    return readiness


def _serve_metrics(metrics: Metrics, host: str, port: int, stack: ExitStack) -> None:
    """Serve the metrics at an address of their own until `stack` closes; raise `ConfigurationError` if it is in use."""
    try:
        server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        raise ConfigurationError(
            f"Metrics cannot be served on port {port}: {error.strerror}. Choose another --metrics-port."
        ) from error
    cast(type[StreamRequestHandler], server.RequestHandlerClass).timeout = _METRICS_SECONDS
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
