"""The dashboard of those who run Warmcast: queue, workers, speed, traffic, room."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import Panel, Row, built

_MODEL = '{model=~"$model"}'


def _quantiles(metric: str) -> list[tuple[str, str]]:
    buckets = f"sum by (le) (increase({metric}_bucket{_MODEL}[1h]))"
    return [(f"histogram_quantile({share}, {buckets})", f"{name}") for share, name in ((0.5, "median"), (0.95, "95 %"))]


def overview() -> Dashboard:
    """Return the dashboard."""
    return built(
        "warmcast-overview",
        "Warmcast: overview",
        "Whether forecasts are taken, computed and read.",
        [("model", "label_values(warmcast_jobs_total, model)")],
        [
            Row("Now", _now()),
            Row("Forecasts", _forecasts()),
            Row("Workers", _workers()),
            Row("Requests", _requests()),
            Row("Room", _room()),
        ],
    )


def _now() -> list[Panel]:
    return [
        Panel(
            "Waiting", "Forecasts that no worker has begun.", "short",
            [('max(warmcast_queue_depth{status="accepted"})', "waiting")], "stat", 4, 4, bad_above=50,
        ),
        Panel(
            "Running", "Forecasts that workers compute.", "short",
            [('max(warmcast_queue_depth{status="running"})', "running")], "stat", 4, 4,
        ),
        Panel(
            "Workers", "Workers that told in the last 30 s that they are alive.", "short",
            [("count(max by (worker) (warmcast_worker_up)) or vector(0)", "alive")], "stat", 4, 4, bad_below=1,
        ),
        Panel(
            "Oldest that waits", "How long the oldest forecast that waits has done so.", "s",
            [("max(warmcast_queue_oldest_age_seconds)", "age")], "stat", 4, 4, bad_above=900,
        ),
        Panel(
            "Free disk", "Bytes that are free where data lies.", "bytes",
            [("min(warmcast_store_free_bytes)", "free")], "stat", 4, 4, bad_below=5e9,
        ),
        Panel(
            "Database", "Whether the database answers.", "short",
            [("min(warmcast_database_up)", "answers")], "stat", 4, 4, bad_below=1,
        ),
    ]  # fmt: skip


def _forecasts() -> list[Panel]:
    return [
        Panel(
            "Ended in the last hour", "Forecasts by how they ended.", "short",
            [(f"sum by (status) (increase(warmcast_jobs_total{_MODEL}[1h]))", "{{status}}")],
        ),
        Panel(
            "Queue", "Forecasts that wait and that run.", "short",
            [("max by (status) (warmcast_queue_depth)", "{{status}}")],
        ),
        Panel(
            "Wait", "Seconds from acceptance to the start, of the last hour.", "s",
            _quantiles("warmcast_job_wait_seconds"), width=8,
        ),
        Panel(
            "Time to the first lead time", "Seconds until there is something to read, of the last hour.",
            "s", _quantiles("warmcast_time_to_first_lead_seconds"), width=8,
        ),
        Panel(
            "Run", "Seconds from the start to the end, of the last hour.", "s",
            _quantiles("warmcast_job_run_seconds"), width=8,
        ),
    ]  # fmt: skip


def _workers() -> list[Panel]:
    step = "warmcast_rollout_step_seconds"
    mean = f"sum by (phase) (rate({step}_sum{_MODEL}[5m])) / sum by (phase) (rate({step}_count{_MODEL}[5m]))"
    share = f"sum by (phase) (increase({step}_sum{_MODEL}[1h])) / scalar(sum(increase({step}_sum{_MODEL}[1h])))"
    return [
        Panel(
            "Seconds a lead time", "Mean of each phase for a group, over five minutes.", "s", [(mean, "{{phase}}")],
            width=8,
        ),
        Panel(
            "Share of phases", "Where workers' time went in the last hour.", "percentunit", [(share, "{{phase}}")],
            width=8,
        ),
        Panel(
            "Evaluations", "Evaluations of the networks, each of one member, a second.", "ops",
            [(f"sum by (model) (rate(warmcast_network_evaluations_total{_MODEL}[5m]))", "{{model}}")], width=8,
        ),
        Panel(
            "GPU memory", "Bytes of workers' tensors; 0 without a GPU.", "bytes",
            [("max by (worker, device) (warmcast_gpu_memory_bytes) or vector(0)", "{{worker}} {{device}}")],
        ),
        Panel(
            "Alive", "Workers by device.", "short",
            [("count by (device) (max by (worker, device) (warmcast_worker_up))", "{{device}}")],
        ),
    ]  # fmt: skip


def _requests() -> list[Panel]:
    seconds = "warmcast_http_request_seconds"
    return [
        Panel(
            "Requests", "Answers a second by status code.", "reqps",
            [(f"sum by (code) (rate({seconds}_count[$__rate_interval]))", "{{code}}")], width=8,
        ),
        Panel(
            "Seconds to an answer", "95 % of the answers begin sooner, by route.", "s",
            [(f"histogram_quantile(0.95, sum by (le, route) (rate({seconds}_bucket[5m])))", "{{route}}")], width=8,
        ),
        Panel(
            "Ensembles sent", "Bytes of ensembles that are read a second.", "Bps",
            [("sum(rate(warmcast_chunk_bytes_sent_total[$__rate_interval]))", "sent")], width=8,
        ),
    ]  # fmt: skip


def _room() -> list[Panel]:
    return [
        Panel(
            "Disk", "Bytes of ensembles that are kept, and bytes that are free.", "bytes",
            [("max(warmcast_store_bytes)", "ensembles"), ("min(warmcast_store_free_bytes)", "free")],
        ),
        Panel(
            "Version", "Version of each process of the API.", "short",
            [("count by (version) (warmcast_build_info)", "{{version}}")], "stat",
        ),
    ]  # fmt: skip
