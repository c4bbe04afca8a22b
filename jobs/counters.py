"""Metrics of worker processes, counted in memory and stored as rows of samples in the database."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Literal

STEP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)


@dataclass(frozen=True)
class Metric:
    """A metric of workers: a counter, a histogram with the upper bounds of its buckets, or a gauge of a live worker.

    The first label is the model; `known` holds the values of the other labels that are exported before the first count.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()


STEP_SECONDS = Metric(
    "warmcast_rollout_step_seconds",
    "histogram",
    "Seconds that a phase of one lead time of a member group takes.",
    ("model", "phase"),
    STEP_BUCKETS,
    known=(
        ("warm_start",),
        ("flow",),
        ("encode",),
        ("write",),
        ("wait",),
        ("diagnostics",),
        ("summary",),
        ("products",),
    ),
)
EVALUATIONS = Metric(
    "warmcast_network_evaluations",
    "counter",
    "Evaluations of both networks, each of one member.",
    ("model",),
    known=((),),
)
NONFINITE = Metric(
    "warmcast_member_nonfinite",
    "counter",
    "Members of ended forecasts that are not finite everywhere.",
    ("model",),
    known=((),),
)
GPU_MEMORY = Metric("warmcast_gpu_memory_bytes", "gauge", "Bytes that a worker's tensors take on its GPU.", ())
METRICS = {metric.name: metric for metric in (STEP_SECONDS, EVALUATIONS, NONFINITE, GPU_MEMORY)}

_SUM = "sum"


@dataclass(frozen=True)
class Sample:
    """The identity of one number of a metric.

    `part` is empty, or for a histogram the upper bound of a bucket (its count is not cumulative), or `sum`.
    """

    metric: str
    labels: tuple[str, ...]
    part: str = ""

    @property
    def key(self) -> str:
        """The sample as text, which is the key of its row."""
        return json.dumps([self.metric, list(self.labels), self.part])

    @classmethod
    def parse(cls, key: str) -> "Sample":
        """Return the sample of a row's key."""
        metric, labels, part = json.loads(key)
        return cls(metric, tuple(labels), part)


class Tally:
    """Counters, histograms and gauges of one process since its start; safe for use by several threads."""

    def __init__(self) -> None:
        self._values: dict[Sample, float] = {}
        self._lock = Lock()

    def count(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Increase a counter by `by`."""
        self._add(Sample(metric.name, labels), by)

    def observe(self, metric: Metric, *labels: str, value: float) -> None:
        """Add a value to a histogram."""
        bound = next((str(bound) for bound in metric.buckets if value <= bound), "+Inf")
        self._add(Sample(metric.name, labels, bound), 1.0)
        self._add(Sample(metric.name, labels, _SUM), value)

    def set(self, metric: Metric, *labels: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[Sample(metric.name, labels)] = value

    def samples(self) -> dict[Sample, float]:
        """Return the present values of all counters, histograms and gauges, by sample."""
        with self._lock:
            return dict(self._values)

    def _add(self, sample: Sample, by: float) -> None:
        with self._lock:
            self._values[sample] = self._values.get(sample, 0.0) + by


def cumulative_histogram(
    metric: Metric, labels: tuple[str, ...], totals: Mapping[Sample, float]
) -> tuple[list[tuple[str, float]], float]:
    """Return the cumulative counts by upper bound of the buckets, and the sum of the values: the form of Prometheus."""
    cumulative, count = [], 0.0
    for bound in (*map(str, metric.buckets), "+Inf"):
        count += totals.get(Sample(metric.name, labels, bound), 0.0)
        cumulative.append((bound, count))
    return cumulative, totals.get(Sample(metric.name, labels, _SUM), 0.0)
