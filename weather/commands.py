"""`warmcast inspect`: what files hold, and what a forecast would start from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from weather.bundled import find_checkpoint
from weather.manifest import read_manifest
from weather.readers.inspection import inspect_sources
from weather.times import parse_time
from weather.variables import KNOWN


def inspect_files(
    *,
    files: Sequence[str],
    variables: str | None,
    init_time: str | None,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
) -> dict[str, Any]:
    """Return the inspection of files for a forecast by a checkpoint; `variables` are the listed ones, with commas.

    Raises `ConfigurationError` or `CheckpointError` for an option that cannot be used.
    """
    manifest = read_manifest(find_checkpoint(checkpoint, checkpoint_folders))
    time = parse_time(init_time) if init_time else None
    listed = None if variables is None else _parse_variables(variables)
    inspection = inspect_sources(files, manifest.model, time, listed)
    return {"checkpoint": manifest.name, **inspection.model_dump(mode="json")}


def _parse_variables(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in KNOWN]
    if unknown or not names:
        raise ConfigurationError(
            f"`variables` must be some of {', '.join(KNOWN)}, with commas between them. Got: {text!r}.", ("variables",)
        )
    return names
