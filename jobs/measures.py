"""What worker processes count, by which names; a process tallies, and its samples travel as rows of the database."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Literal

STEP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)


@dataclass(frozen=True)
class Metric:
    """A metric of workers: a counter, a histogram with the upper ends of its buckets, or a gauge of a live worker.

    The first label is the model; `known` are the values of the others that are there before anything is counted.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()


STEP_SECONDS = Metric(
    "warmcast_rollout_step_seconds", "histogram", "Seconds that a phase of one lead time of a member group takes.",
    ("model", "phase"), STEP_BUCKETS,
    tuple((phase,) for phase in ("warm_start", "flow", "write", "diagnostics", "summary")),
)  # fmt: skip
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
METRICS = {measure.name: measure for measure in (STEP_SECONDS, EVALUATIONS, NONFINITE, GPU_MEMORY)}

_SUM = "sum"


@dataclass(frozen=True)
class Sample:
    """One number of a measure: `part` is empty, or a histogram's upper end of a bucket (not cumulative) or `sum`."""

    measure: str
    labels: tuple[str, ...]
    part: str = ""

    @property
    def text(self) -> str:
        """Return the sample as the key of a row."""
        return json.dumps([self.measure, list(self.labels), self.part])

    @classmethod
    def parse(cls, text: str) -> "Sample":
        """Return the sample that `text` is the key of."""
        measure, labels, part = json.loads(text)
        return cls(measure, tuple(labels), part)


class Tally:
    """The counts of one process since it began; safe among threads."""

    def __init__(self) -> None:
        self._values: dict[Sample, float] = {}
        self._lock = Lock()

    def count(self, measure: Metric, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        self._add(Sample(measure.name, labels), by)

    def observe(self, measure: Metric, *labels: str, value: float) -> None:
        """Add a value to a histogram."""
        end = next((str(end) for end in measure.buckets if value <= end), "+Inf")
        self._add(Sample(measure.name, labels, end), 1.0)
        self._add(Sample(measure.name, labels, _SUM), value)

    def set(self, measure: Metric, *labels: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[Sample(measure.name, labels)] = value

    def samples(self) -> dict[Sample, float]:
        """Return all counts."""
        with self._lock:
            return dict(self._values)

    def _add(self, sample: Sample, by: float) -> None:
        with self._lock:
            self._values[sample] = self._values.get(sample, 0.0) + by


def cumulative_histogram(
    measure: Metric, labels: tuple[str, ...], totals: Mapping[Sample, float]
) -> tuple[list[tuple[str, float]], float]:
    """Return cumulative counts by upper end, and the sum, as Prometheus wants them."""
    cumulative, count = [], 0.0
    for end in (*map(str, measure.buckets), "+Inf"):
        count += totals.get(Sample(measure.name, labels, end), 0.0)
        cumulative.append((end, count))
    return cumulative, totals.get(Sample(measure.name, labels, _SUM), 0.0)
