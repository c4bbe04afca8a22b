from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.analyses import hour
from tests.origins import AnalysisServer, serving_analyses
from weather.upstream.dataset import Dataset
from weather.upstream.registry import UpstreamOptions, enabled_datasets
from weather.upstream.transfers import Patience, Result

NOON = hour("2026-03-01T12")
LOCAL = "127.0.0.0/8,::1/128"


class Meter:
    """Counts requests, and notes pauses without waiting."""

    def __init__(self) -> None:
        self.results, self.size_bytes, self.pauses = Counter[str](), 0, list[float]()

    def count(self, dataset: str, result: Result, size_bytes: int) -> None:
        self.results[result] += 1
        self.size_bytes += size_bytes


class Make:
    """Makes data sets of the server; pauses are noted and not waited for."""

    def __init__(self, folder: Path, server: AnalysisServer, meter: Meter) -> None:
        self._folder, self._server, self._meter = folder, server, meter

    def __call__(
        self,
        name: str = "noaa",
        networks: str = LOCAL,
        text: str | None = None,
        cache_bytes: int = 10**9,
        **limits: float,
    ) -> Dataset:
        file = self._folder / "datasets.toml"
        file.write_text(self._server.definitions() if text is None else text)
        options = UpstreamOptions((name,), file, networks, True, cache_bytes)
        patience = Patience(**limits, sleep=self._meter.pauses.append)  # type: ignore[arg-type]  # numbers
        return enabled_datasets(options, self._folder / "cache", self._meter, patience)[name]


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def server() -> Iterator[AnalysisServer]:
    """A server with the analyses of noon and of the two cycles before."""
    with serving_analyses() as server:
        for index in range(3):
            server.publish(NOON - index * np.timedelta64(6, "h"))
        yield server


@pytest.fixture
def make(tmp_path: Path, server: AnalysisServer, meter: Meter) -> Make:
    return Make(tmp_path, server, meter)
