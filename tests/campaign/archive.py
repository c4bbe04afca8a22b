"""Simulated weather of some days: when each analysis appears on a server, and what the server does wrong until then."""

import math
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests import origins
from tests.simulated import STEP
from weather.upstream.dataset import Dataset
from weather.upstream.registry import UpstreamOptions, enabled_datasets
from weather.upstream.transfers import Patience

_HOUR = 3600.0
_CACHE_BYTES = 100_000
"""Fewer than the analyses have: some are fetched again."""
_SHARE_OF_FAULTS = 0.3


@dataclass
class Weather:
    """When each analysis appears, if ever, and when the data set is away."""

    draw: random.Random
    first: np.datetime64
    num_cycles: int
    appears: dict[np.datetime64, float] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for index in range(-1, self.num_cycles + 3):
            time = self.first + index * STEP
            chance = self.draw.random()
            hours = self.draw.uniform(3.5, 7) if chance < 0.92 else self.draw.uniform(8, 40)
            if chance < 0.98:
                self.appears[time] = float(time.astype("int64")) + hours * _HOUR
        start = float(self.first.astype("int64"))
        for _ in range(self.num_cycles // 40):
            begin = start + self.draw.uniform(0, self.num_cycles * 6 * _HOUR)
            self.outages.append((begin, begin + self.draw.uniform(1, 30) * _HOUR))

    def appearance_of(self, time: float) -> float:
        """Return when the analysis of a time appears, in seconds since 1970; infinity if it never does."""
        return self.appears.get(np.datetime64(int(time), "s"), math.inf)

    def appearance_of_state(self, init_time: float) -> float:
        """Return when both frames of an initial state have appeared."""
        return max(self.appearance_of(init_time), self.appearance_of(init_time - 6 * _HOUR))

    def is_away(self, now: float) -> bool:
        """Return whether the server of the analyses is away."""
        return any(begin <= now < end for begin, end in self.outages)

    def is_away_from(self, time: float, seconds: float) -> bool:
        """Return whether the server is away at some moment of the `seconds` after a time."""
        return any(begin <= time + seconds and time < end for begin, end in self.outages)


class Archive:
    """The analyses of simulated weather on a server, some of them first cut short or of another hour."""

    name = "noaa"

    def __init__(self, server: origins.AnalysisServer, weather: Weather, folder: Path) -> None:
        self._server, self._weather = server, weather
        self._left = dict(sorted(weather.appears.items(), key=lambda item: item[1]))
        self._damaged = list[np.datetime64]()
        file = folder / "datasets.toml"
        file.write_text(server.definitions())
        options = UpstreamOptions((self.name,), file, "127.0.0.0/8,::1/128", True, _CACHE_BYTES)
        patience = Patience(sleep=lambda _seconds: None)
        self.dataset: Dataset = enabled_datasets(options, folder / "cache", None, patience)[self.name]

    def show(self, now: float) -> None:
        """Give the server what has appeared by now; what was damaged at the last call is whole."""
        for time in self._damaged:
            self._server.publish(time)
        self._damaged.clear()
        while self._left and self._left[time := next(iter(self._left))] <= now:
            del self._left[time]
            self._server.publish(time)
            if self._weather.draw.random() < _SHARE_OF_FAULTS:
                self._damage(time)
        self._server.is_away = self._weather.is_away(now)

    def _damage(self, time: np.datetime64) -> None:
        """Let the file of a time be of another hour or cut short until the next call, or some of its requests fail."""
        draw, path = self._weather.draw, origins.path_of(time)
        kind = draw.choice(("hour", "short", "requests", "requests"))
        if kind == "hour":
            self._server.publish(time, content_time=time + STEP)
            self._damaged.append(time)
        elif kind == "short":
            whole = self._server.files[path]
            self._server.files[path] = whole[: draw.randrange(len(whole))]
            self._damaged.append(time)
        else:
            for name in (path, f"{path}.idx"):
                self._server.fail(name, *(self._draw_fault() for _ in range(draw.randrange(8))))

    def _draw_fault(self) -> origins.Fault:
        codes = origins.status(self._weather.draw.choice((403, 404, 408, 429, 500, 503)))
        return self._weather.draw.choice(
            (
                codes,
                origins.usual(),
                origins.cut(),
                origins.whole_file(),
                origins.endless(),
                origins.redirect(f"{self._server.url}/no"),
            )
        )
