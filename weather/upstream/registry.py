"""The data sets that are enabled: the bundled ones, and those of definitions whose names the operator lists."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from storage.errors import ConfigurationError
from storage.hosts import Hosts
from weather.upstream.bundled import bundled_datasets
from weather.upstream.cache import AnalysisCache
from weather.upstream.dataset import Dataset
from weather.upstream.definitions import (
    FetchedDefinition,
    FolderDefinition,
    WholeFileDefinition,
    ZarrDefinition,
    read_definitions,
)
from weather.upstream.fetched import FetchedDataset, Source
from weather.upstream.folder import FolderDataset, FolderOrigin
from weather.upstream.grib_index import GribIndexSource
from weather.upstream.indexes import read_idx, read_json_lines
from weather.upstream.transfers import Meter, NoMeter, Patience, Transfer
from weather.upstream.whole_files import WholeFileSource
from weather.upstream.zarr_store import ZarrSource

_READERS = {"idx": read_idx, "json-lines": read_json_lines}


@dataclass(frozen=True)
class UpstreamOptions:
    """Which data sets are enabled beside the bundled ones, the file with an operator's own definitions, and limits.

    `networks` are those, separated by commas, whose addresses need not be public; `allows_http` allows http://.
    """

    enabled: Sequence[str] = ()
    definitions: Path | None = None
    networks: str = ""
    allows_http: bool = False
    cache_bytes: int = 1_000_000_000


@dataclass(frozen=True)
class Surroundings:
    """Where a process keeps what it fetches, what counts its requests, and how long it tries."""

    cache: AnalysisCache
    meter: Meter = field(default_factory=NoMeter)
    patience: Patience = field(default_factory=Patience)


def enabled_datasets(
    options: UpstreamOptions, cache_folder: Path, meter: Meter | None = None, patience: Patience | None = None
) -> dict[str, Dataset]:
    """Return the data sets by name, the bundled ones first; nothing is contacted. What is fetched is in `cache_folder`.

    Raises `ConfigurationError` for a name without a definition, a name twice, and a definition that is wrong.
    """
    cache = AnalysisCache(cache_folder, options.cache_bytes)
    surroundings = Surroundings(cache, meter or NoMeter(), patience or Patience())
    datasets: dict[str, Dataset] = dict(bundled_datasets())
    definitions = read_definitions(options.definitions)
    for name in options.enabled:
        if name in datasets:
            raise ConfigurationError(f"Data set `{name}` is bundled or enabled twice. Choose other names.")
        if name not in definitions:
            known = ", ".join(definitions) or "none"
            raise ConfigurationError(f"`{name}` is no data set that is defined. Expected some of: {known}.")
        definition = definitions[name]
        if isinstance(definition, FolderDefinition):
            datasets[name] = _make_folder(name, definition)
        else:
            datasets[name] = _make_fetched(name, definition, options, surroundings)
    return datasets


def _make_folder(name: str, definition: FolderDefinition) -> FolderDataset:
    origin = FolderOrigin(
        definition.folder,
        definition.file,
        definition.step_hours,
        definition.variables,
        definition.settle_seconds,
        definition.lookback_hours,
        definition.max_bytes,
    )
    return FolderDataset(name, definition.describe(), origin)


def _make_fetched(
    name: str, definition: FetchedDefinition, options: UpstreamOptions, surroundings: Surroundings
) -> FetchedDataset:
    hosts = _find_hosts(name, definition.addresses, options)
    return FetchedDataset(
        name,
        definition.describe(hosts.names),
        _make_source(name, definition),
        (definition.step_hours, definition.lookback_hours),
        partial(Transfer, name, hosts, surroundings.patience, surroundings.meter, definition.max_bytes),
        surroundings.cache,
        _group_of(name, definition),
    )


def _make_source(name: str, definition: FetchedDefinition) -> Source:
    if isinstance(definition, WholeFileDefinition):
        return WholeFileSource(name, definition.url, definition.variables)
    if isinstance(definition, ZarrDefinition):
        return ZarrSource(name, definition.url.rstrip("/"), definition.arrays)
    return GribIndexSource(
        name,
        definition.url,
        definition.index_url,
        _READERS[definition.index],
        definition.parameters,
        definition.streams,
    )


def _find_hosts(name: str, addresses: Sequence[str], options: UpstreamOptions) -> Hosts:
    """Return the hosts of addresses, which alone may be contacted; raise `ConfigurationError` for http if it is not."""
    parts = [urlsplit(address) for address in addresses]
    if not options.allows_http and any(part.scheme != "https" for part in parts):
        raise ConfigurationError(
            f"The addresses of data set `{name}` must begin with https://; WARMCAST_DATASETS_HTTP allows http://."
        )
    names = tuple(dict.fromkeys(str(part.hostname) for part in parts))
    return Hosts(names, Hosts.parse(options.networks).networks, options.allows_http)


def _group_of(name: str, definition: FetchedDefinition) -> str:
    """Return the folder of the cache: that of another definition of the same name is another one."""
    return f"{name}-{hashlib.sha256(definition.model_dump_json().encode()).hexdigest()[:12]}"
