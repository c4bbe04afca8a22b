"""The data sets that are enabled: the bundled ones, and those of definitions whose names the operator lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import ConfigurationError
from weather.upstream.bundled import bundled_datasets
from weather.upstream.dataset import Dataset
from weather.upstream.definitions import FolderDefinition, read_definitions
from weather.upstream.folder import FolderDataset, FolderOrigin


@dataclass(frozen=True)
class UpstreamOptions:
    """Which data sets are enabled beside the bundled ones, and the file with an operator's own definitions."""

    enabled: Sequence[str] = ()
    definitions: Path | None = None


def enabled_datasets(options: UpstreamOptions) -> dict[str, Dataset]:
    """Return the data sets by name, the bundled ones first; nothing is contacted.

    Raises `ConfigurationError` for a name without a definition, a name twice, and a definition that is wrong.
    """
    datasets: dict[str, Dataset] = dict(bundled_datasets())
    definitions = read_definitions(options.definitions)
    for name in options.enabled:
        if name in datasets:
            raise ConfigurationError(f"Data set `{name}` is bundled or enabled twice. Choose other names.")
        if name not in definitions:
            known = ", ".join(definitions) or "none"
            raise ConfigurationError(f"`{name}` is no data set that is defined. Expected some of: {known}.")
        datasets[name] = _make(name, definitions[name])
    return datasets


def _make(name: str, definition: FolderDefinition) -> Dataset:
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
