"""The initial state of a data set that the settings enable, for a forecast without a service."""

import shutil

import numpy as np

from jobs.settings import Settings
from storage.errors import ConfigurationError
from weather.ingest.parent import ingest_initial_state
from weather.initial_state import InitialState
from weather.manifest import ModelSpec
from weather.upstream.registry import enabled_datasets
from weather.upstream.states import CACHE, check_newest, check_time, fetch_links, frame_times, with_origin


def read_dataset_state(name: str, init_time: str | None, spec: ModelSpec) -> InitialState:
    """Return the state of a bundled or enabled data set at a time, by default its newest.

    It is fetched, kept in the cache of the data folder, limited and parsed as a service does it: only hosts of enabled
    data sets are contacted. Raises `ConfigurationError` that lists the data sets for a name that is not enabled, and
    `UpstreamError` if the data set is not reached or has no whole analyses for it.
    """
    settings, now = Settings.read(), np.datetime64("now", "s")
    datasets = enabled_datasets(settings.datasets.upstream_options, settings.storage.data / CACHE)
    if name not in datasets:
        raise ConfigurationError(
            f"`dataset` must be one that is bundled or enabled: {', '.join(datasets)}. Got: {name!r}. "
            "The setting WARMCAST_DATASETS enables others.",
            ("dataset",),
        )
    dataset = datasets[name]
    time = check_newest(name, dataset.find_newest(now)) if init_time is None else check_time(dataset, init_time, now)
    folder, names = fetch_links(dataset, frame_times(time, spec))
    try:
        return with_origin(ingest_initial_state([folder / each for each in names], names, spec, time), dataset)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
