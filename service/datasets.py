"""The data sets of the catalogue, and the newest initial time of each, which is looked up at most once a minute."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from jobs.settings import Settings
from storage.errors import ConfigurationError
from weather.errors import UpstreamError
from weather.times import format_time
from weather.upstream.bundled import BundledDataset
from weather.upstream.dataset import Dataset
from weather.upstream.registry import enabled_datasets
from weather.upstream.states import CACHE, check_time
from weather.upstream.transfers import Meter

KEEP_SECONDS = 60.0
"""Seconds for which the newest initial time of a data set is used again."""
_FRESH_SECONDS = 600.0
"""Seconds for which it is used while another thread looks it up."""
_LATE_HOURS = 9.0
"""Hours after which cycles are late of data sets whose analyses never are."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Newest:
    """The newest initial time of a data set when it was reached last, and why it is not reached since when.

    `checked` and `failing_since` are seconds since 1970; `failure` is a sentence, None while the data set is reached.
    """

    init_time: np.datetime64 | None = None
    checked: float = 0.0
    failure: str | None = None
    failing_since: float | None = None


def open_datasets(settings: Settings, meter: Meter) -> "Datasets":
    """Return the data sets that the settings enable, which keep what they fetch in the data folder."""
    return Datasets(enabled_datasets(settings.datasets.upstream_options, settings.storage.data / CACHE, meter))


class Datasets:
    """The data sets by name. `clock` returns the seconds since 1970, by which the newest analyses are looked for."""

    def __init__(self, datasets: Mapping[str, Dataset], clock: Callable[[], float] = time.time) -> None:
        self.by_name, self._clock = dict(datasets), clock
        self._newest = {name: Newest() for name in datasets}
        self._locks = {name: threading.Lock() for name in datasets}

    def find(self, name: str) -> Dataset:
        """Return the data set of a name; raise `ConfigurationError` that lists the names."""
        if name not in self.by_name:
            known = ", ".join(self.by_name)
            raise ConfigurationError(f"`dataset` must be one of the catalogue: {known}. Got: {name!r}.", ("dataset",))
        return self.by_name[name]

    def is_fetched(self, name: str) -> bool:
        """Return whether the analyses of a data set are not bundled; raise the error of `find`."""
        return not isinstance(self.find(name), BundledDataset)

    def check_time(self, name: str, text: str) -> np.datetime64:
        """Return an initial time of a data set; raise `ConfigurationError` unless it has analyses of such an hour."""
        return check_time(self.find(name), text, self._now())

    def find_newest(self, name: str) -> np.datetime64 | None:
        """Return the newest initial time of a data set, or None if it has none; it may be a minute old.

        Raises `UpstreamError` if the data set is not reached, and the error of `find`. The calling thread waits.
        """
        newest = self.refresh(name)
        if newest.failure is not None:
            raise UpstreamError(name, newest.failure)
        return newest.init_time

    def known_newest(self, name: str) -> Newest:
        """Return what is known of the newest initial time, without waiting."""
        return self._newest[name] if self.is_fetched(name) else self.refresh(name)

    def is_late(self, name: str) -> bool:
        """Return whether the newest analysis that is known of a data set is older than its `late_hours`."""
        limit, init_time = self.find(name).description.late_hours, self.known_newest(name).init_time
        if limit is None or init_time is None:
            return False
        return bool((self._now() - init_time) / np.timedelta64(1, "h") > limit)

    def late_hours(self, name: str) -> float:
        """Return the hours after which a cycle of a data set is late, if its schedule does not say."""
        return self.find(name).description.late_hours or _LATE_HOURS

    def fetched_names(self) -> list[str]:
        """Return the names of the data sets that are fetched."""
        return [name for name in self.by_name if self.is_fetched(name)]

    def refresh(self, name: str) -> Newest:
        """Return the newest initial time and whether the data set is reached; look it up unless it is new enough."""
        dataset, earlier = self.find(name), self._newest[name]
        if self._clock() - earlier.checked < KEEP_SECONDS:
            return earlier
        is_fresh = self._clock() - earlier.checked < _FRESH_SECONDS
        if not self._locks[name].acquire(blocking=not is_fresh):
            return earlier  # another thread looks it up
        try:
            earlier = self._newest[name]
            if self._clock() - earlier.checked >= KEEP_SECONDS:
                self._newest[name] = self._look_up(name, dataset, earlier)
            return self._newest[name]
        finally:
            self._locks[name].release()

    def refresh_all(self) -> None:
        """Look up the newest initial times of the data sets that are fetched."""
        for name in self.fetched_names():
            self.refresh(name)

    def _look_up(self, name: str, dataset: Dataset, earlier: Newest) -> Newest:
        try:
            init_time = dataset.find_newest(self._now())
        except UpstreamError as error:
            if earlier.failure is None:
                _log.warning("data set %s is not reached: %s", name, error)
            since = earlier.failing_since if earlier.failing_since is not None else self._clock()
            return Newest(earlier.init_time, self._clock(), str(error), since)
        if earlier.failure is not None:
            _log.warning("data set %s is reached again", name)
        if init_time is not None and init_time != earlier.init_time:
            _log.info("data set %s: the newest initial time is %s", name, format_time(init_time))
        return Newest(init_time, self._clock())

    def _now(self) -> np.datetime64:
        return np.datetime64(int(self._clock()), "s")
