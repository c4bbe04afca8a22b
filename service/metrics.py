"""The metrics that one API process counts itself; `service.collector` adds those read from the database."""

import importlib.metadata

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """A Prometheus registry and the metrics of this process in it."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "warmcast_http_request_seconds", "Seconds until the response begins.", ["route", "method", "code"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.chunk_bytes = Counter("warmcast_chunk_bytes_sent", "Bytes of ensemble data sent.", registry=self.registry)
        build = Gauge("warmcast_build_info", "Version of the service; always 1.", ["version"], registry=self.registry)
        build.labels(importlib.metadata.version("warmcast")).set(1)
