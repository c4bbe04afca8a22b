"""Dashboard for operators: queue, workers, speed, requests and storage."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import Panel, Row, build_dashboard

_MODEL = '{model=~"$model"}'


def overview() -> Dashboard:
    """Return the overview dashboard."""
    return build_dashboard(
        "warmcast-overview",
        "Warmcast: overview",
        "Whether forecasts are accepted, computed and read.",
        [("model", "label_values(warmcast_jobs_total, model)")],
        [
            Row("Current state", _current_state()),
            Row("Forecasts", _forecasts()),
            Row("Workers", _workers()),
            Row("Requests", _requests()),
            Row("Schedules", _schedules()),
            Row("Storage", _storage()),
            Row("API keys, if WARMCAST_METRICS_KEYS names a number", _keys()),
        ],
    )


def _quantiles(metric: str) -> dict[str, str]:
    """Return queries of median and 95 % quantile of a histogram over the last hour."""
    buckets = f"sum by (le) (increase({metric}_bucket{_MODEL}[1h]))"
    return {name: f"histogram_quantile({share}, {buckets})" for name, share in (("median", 0.5), ("95 %", 0.95))}


def _current_state() -> list[Panel]:
    queue, age = "warmcast_queue_depth", "warmcast_queue_oldest_age_seconds"
    workers = "count(max by (worker) (warmcast_worker_up)) or vector(0)"
    return [
        Panel.stat(
            "Waiting",
            "Forecasts that no worker has started.",
            "waiting",
            f'max({queue}{{status="accepted"}})',
            bad_above=50,
        ),
        Panel.stat("Running", "Forecasts that workers are computing.", "running", f'max({queue}{{status="running"}})'),
        Panel.stat("Workers", "Workers with a heartbeat in the last 30 s.", "alive", workers, bad_below=1),
        Panel.stat(
            "Longest wait",
            "Time that the oldest waiting forecast has waited.",
            "age",
            f"max({age})",
            "s",
            bad_above=900,
        ),
        Panel.stat(
            "Free disk space",
            "Bytes available in the data folder.",
            "free",
            "min(warmcast_store_free_bytes)",
            "bytes",
            bad_below=5e9,
        ),
        Panel.stat(
            "Database", "1 if the database is reachable, else 0.", "reachable", "min(warmcast_database_up)", bad_below=1
        ),
    ]


def _forecasts() -> list[Panel]:
    ended = f"sum by (status) (increase(warmcast_jobs_total{_MODEL}[1h]))"
    first = "warmcast_time_to_first_lead_seconds"
    return [
        Panel("Ended in the last hour", "Forecasts that ended, by final status.", "short", {"{{status}}": ended}),
        Panel(
            "Queue",
            "Forecasts that are waiting and running.",
            "short",
            {"{{status}}": "max by (status) (warmcast_queue_depth)"},
        ),
        Panel(
            "Waiting time",
            "Seconds from acceptance to start, over the last hour.",
            "s",
            _quantiles("warmcast_job_wait_seconds"),
            width=8,
        ),
        Panel(
            "Time to the first lead time",
            "Seconds from acceptance until the first lead time is complete, over the last hour.",
            "s",
            _quantiles(first),
            width=8,
        ),
        Panel(
            "Computing time",
            "Seconds from start to end, over the last hour.",
            "s",
            _quantiles("warmcast_job_run_seconds"),
            width=8,
        ),
    ]


def _workers() -> list[Panel]:
    step = "warmcast_rollout_step_seconds"
    mean = f"sum by (phase) (rate({step}_sum{_MODEL}[5m])) / sum by (phase) (rate({step}_count{_MODEL}[5m]))"
    share = f"sum by (phase) (increase({step}_sum{_MODEL}[1h])) / scalar(sum(increase({step}_sum{_MODEL}[1h])))"
    evaluations = f"sum by (model) (rate(warmcast_network_evaluations_total{_MODEL}[5m]))"
    memory = "max by (worker, device) (warmcast_gpu_memory_bytes) or vector(0)"
    alive = "count by (device) (max by (worker, device) (warmcast_worker_up))"
    return [
        Panel(
            "Seconds per lead time",
            "Mean duration of each phase for one member group, over five minutes.",
            "s",
            {"{{phase}}": mean},
            width=8,
        ),
        Panel(
            "Share of each phase",
            "Fraction of the workers' time in each phase, over the last hour.",
            "percentunit",
            {"{{phase}}": share},
            width=8,
        ),
        Panel(
            "Network evaluations",
            "Evaluations of both networks per second, each of one member.",
            "ops",
            {"{{model}}": evaluations},
            width=8,
        ),
        Panel(
            "GPU memory", "Bytes of the workers' tensors; 0 without a GPU.", "bytes", {"{{worker}} {{device}}": memory}
        ),
        Panel("Workers alive", "Workers with a recent heartbeat, by device.", "short", {"{{device}}": alive}),
    ]


def _requests() -> list[Panel]:
    seconds = "warmcast_http_request_seconds"
    rate = f"sum by (code) (rate({seconds}_count[$__rate_interval]))"
    latency = f"histogram_quantile(0.95, sum by (le, route) (rate({seconds}_bucket[5m])))"
    sent = "sum(rate(warmcast_chunk_bytes_sent_total[$__rate_interval]))"
    rates = "sum by (dataset, result) (rate(warmcast_dataset_requests_total[$__rate_interval])) or vector(0)"
    received = "sum by (dataset) (rate(warmcast_dataset_bytes_total[$__rate_interval])) or vector(0)"
    reached = "min by (dataset) (warmcast_dataset_reached) or vector(1)"
    fetches = {"{{dataset}} {{result}}": rates}
    sends = "sum by (result) (rate(warmcast_webhook_deliveries_total[$__rate_interval])) or vector(0)"
    return [
        Panel("Requests", "Responses per second, by status code.", "reqps", {"{{code}}": rate}, width=6),
        Panel(
            "Response time",
            "95 % quantile of the seconds until a response starts, by route.",
            "s",
            {"{{route}}": latency},
            width=6,
        ),
        Panel("Ensemble data sent", "Bytes of ensembles sent per second.", "Bps", {"sent": sent}, width=6),
        Panel(
            "Callbacks", "Attempts to deliver an event per second, by result.", "cps", {"{{result}}": sends}, width=6
        ),
        Panel("Requests to data sets", "Requests per second, by data set and result.", "cps", fetches),
        Panel("Bytes of data sets", "Bytes received per second, by data set.", "Bps", {"{{dataset}}": received}),
        Panel("Data sets reached", "1 for each data set that is reached.", "short", {"{{dataset}}": reached}),
    ]


def _storage() -> list[Panel]:
    disk = {"ensembles": "max(warmcast_store_bytes)", "free": "min(warmcast_store_free_bytes)"}
    versions = {"{{version}}": "count by (version) (warmcast_build_info)"}
    return [
        Panel("Disk", "Bytes of stored ensembles and bytes available.", "bytes", disk),
        Panel("Version", "Number of API processes of each version.", "short", versions, "stat"),
    ]


def _keys() -> list[Panel]:
    evaluations = "sum by (key) (rate(warmcast_key_evaluations_total[1h])) or vector(0)"
    ended = "sum by (key, status) (increase(warmcast_key_jobs_total[1d])) or vector(0)"
    accepted = "sum by (key) (increase(warmcast_key_submissions_total[1d])) or vector(0)"
    kept = {"{{key}}": "max by (key) (warmcast_key_kept_bytes) or vector(0)"}
    waiting = {"{{key}}": "max by (key) (warmcast_key_open_forecasts) or vector(0)"}
    return [
        Panel("Evaluations", "Network evaluations of ended forecasts per second.", "ops", {"{{key}}": evaluations}),
        Panel("Open forecasts", "Forecasts that wait or run, by key.", "short", waiting),
        Panel("Accepted", "Forecasts that were accepted in the last day.", "short", {"{{key}}": accepted}, width=8),
        Panel("Ended", "Forecasts that have ended in the last day.", "short", {"{{key}} {{status}}": ended}, width=8),
        Panel("Kept data", "Bytes of the kept forecasts of each key.", "bytes", kept, width=8),
    ]


def _schedules() -> list[Panel]:
    late = {"{{dataset}} {{schedule}} late": "max by (dataset, schedule) (warmcast_schedule_late_runs)"}
    failed = "max by (dataset, schedule) (warmcast_schedule_failed_runs)"
    outcomes = "sum by (outcome) (increase(warmcast_schedule_outcomes_total[1d]))"
    newest = "time() - max by (dataset) (warmcast_dataset_newest_analysis_timestamp_seconds)"
    next_cycle = "min by (dataset, schedule) (warmcast_schedule_next_cycle_timestamp_seconds) - time()"
    return [
        Panel(
            "Late and failed cycles",
            "Cycles of schedules that are late now, and those of the last day without a forecast.",
            "short",
            late | {"{{dataset}} {{schedule}} failed": failed},
            width=8,
        ),
        Panel(
            "Ends of cycles",
            "Cycles and verifications that have ended in the last day, by outcome.",
            "short",
            {"{{outcome}}": outcomes},
            width=8,
        ),
        Panel(
            "Newest analysis and next cycle",
            "Seconds since the newest analysis of a data set, and until the next cycle of its schedules.",
            "s",
            {"{{dataset}} newest": newest, "{{dataset}} {{schedule}} next": next_cycle},
            width=8,
        ),
    ]
