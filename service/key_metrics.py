"""The usage of the most active API keys as metrics, for operators who want them: each key is a label."""

import logging
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from jobs.rows.database import Database
from jobs.usage import list_most_active

_log = logging.getLogger(__name__)


class KeysCollector(Collector):
    """Collects the usage of at most `max_keys` keys from the database; while that fails, none.

    The label is the id of the key, never its name, or `local` for forecasts without a key.
    """

    def __init__(self, database: Database, max_keys: int) -> None:
        self._database, self._max_keys = database, max_keys

    def describe(self) -> Iterable[Metric]:
        """Return no metrics, so that registration does not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        try:
            with self._database.read() as connection:
                found = list_most_active(connection, self._max_keys)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("The usage of keys could not be read: %s", error)
            return
        open_ones = GaugeMetricFamily("warmcast_key_open_forecasts", "Forecasts that wait or run.", labels=["key"])
        kept = GaugeMetricFamily("warmcast_key_kept_bytes", "Bytes kept, of forecasts and states.", labels=["key"])
        accepted = CounterMetricFamily("warmcast_key_submissions", "Forecasts that were accepted.", labels=["key"])
        ended = CounterMetricFamily("warmcast_key_jobs", "Forecasts that have ended.", labels=["key", "status"])
        spent = CounterMetricFamily("warmcast_key_evaluations", "Network evaluations of ended ones.", labels=["key"])
        for usage in found:
            key = [usage.owner]
            open_ones.add_metric(key, usage.open_forecasts)
            kept.add_metric(key, usage.kept_bytes)
            accepted.add_metric(key, usage.total.accepted)
            spent.add_metric(key, usage.total.evaluations)
            for status in ("successful", "failed", "dismissed"):
                ended.add_metric([*key, status], getattr(usage.total, status))
        yield from (open_ones, kept, accepted, ended, spent)
