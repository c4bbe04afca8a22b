"""The metric of the data sets that are fetched: whether each is reached."""

from collections.abc import Iterable, Iterator

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
        """Yield the gauge, with a series for each data set that was looked up."""
        reached = GaugeMetricFamily("warmcast_dataset_reached", "Whether a data set is reached.", labels=["dataset"])
        for name in self._datasets.fetched_names():
            newest = self._datasets.known_newest(name)
            if newest.checked:
                reached.add_metric([name], float(newest.failure is None))
        yield reached
