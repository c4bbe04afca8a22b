"""Carry out `warmcast catalogue try`: fetch the newest analyses of a data set from its origin, and read them."""

import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jobs.settings import Settings
from weather.bundled import DEFAULT_CHECKPOINT, find_named_checkpoint
from weather.errors import UpstreamError
from weather.ingest.parent import ingest_initial_state
from weather.manifest import read_manifest
from weather.times import format_time, parse_time
from weather.upstream.registry import enabled_datasets
from weather.upstream.states import frame_times
from weather.upstream.transfers import Result


class _Tally:
    """Counts the requests of one command."""

    def __init__(self) -> None:
        self.results, self.size_bytes = Counter[str](), 0

    def count(self, _dataset: str, result: Result, size_bytes: int) -> None:
        """Count a request."""
        self.results[result] += 1
        self.size_bytes += size_bytes


def try_dataset(*, name: str, init_time: str | None, file: Path | None) -> dict[str, Any]:
    """Return what became of an attempt to start from a data set: its newest time, requests, bytes, seconds, warnings.

    The data set need not be enabled; `file` has definitions beside the built-in ones. Nothing is kept. Raises
    `UpstreamError` that says what the origin does, and the errors of reading.
    """
    settings, tally, started = Settings.read(), _Tally(), time.monotonic()
    options = replace(settings.datasets.upstream_options, enabled=(name,))
    options = options if file is None else replace(options, definitions=file)
    spec = read_manifest(find_named_checkpoint(DEFAULT_CHECKPOINT, settings.storage.checkpoint_folders)).model
    with tempfile.TemporaryDirectory(prefix="warmcast-try-") as folder:
        dataset = enabled_datasets(options, Path(folder), tally)[name]
        newest = dataset.find_newest(np.datetime64("now", "s")) if init_time is None else parse_time(init_time)
        if newest is None:
            raise UpstreamError(name, f"Data set {name} is reached, but has no two whole analyses 6 h apart.")
        times = frame_times(newest, spec)
        files = dataset.fetch(times)
        state = ingest_initial_state(files, [path.name for path in files], spec, newest)
        return {
            "dataset": name,
            "title": dataset.description.title,
            "licence": dataset.description.licence,
            "attribution": dataset.description.attribution,
            "init_time": format_time(newest),
            "age_hours": round((time.time() - float(newest.astype("datetime64[s]").astype(np.int64))) / 3600, 1),
            "files": {path.name: path.stat().st_size for path in files},
            "requests": dict(tally.results),
            "received_bytes": tally.size_bytes,
            "seconds": round(time.monotonic() - started, 1),
            "warnings": list(state.warnings),
        }
