"""Metrics of the data sets that are fetched: whether each is reached, and how old its newest analysis is."""

import time
from collections.abc import Iterable, Iterator

import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.datasets import Datasets


class DatasetsCollector(Collector):
    """Collects what is known of the data sets, without a request to a server."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    def describe(self) -> Iterable[Metric]:
        """Return no metrics, so that registration reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield both gauges, with a series for each data set that was looked up."""
        reached = GaugeMetricFamily("warmcast_dataset_reached", "Whether a data set is reached.", labels=["dataset"])
        age = GaugeMetricFamily(
            "warmcast_dataset_newest_age_seconds",
            "Seconds since the newest initial time of which a data set has both frames.",
            labels=["dataset"],
        )
        for name in self._datasets.fetched_names():
            newest = self._datasets.known_newest(name)
            if newest.checked:
                reached.add_metric([name], float(newest.failure is None))
            if newest.init_time is not None:
                age.add_metric([name], time.time() - float(newest.init_time.astype("datetime64[s]").astype(np.int64)))
        yield from (reached, age)
