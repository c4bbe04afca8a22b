"""The checkpoints that requests name; an invalid one is reported in the log, and in problems without its path."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from weather.bundled import find_named_checkpoint, list_checkpoints
from weather.errors import CheckpointError
from weather.manifest import Manifest, read_manifest

_log = logging.getLogger(__name__)


def read_named_manifest(name: str, folders: Sequence[Path]) -> Manifest:
    """Return the manifest of the checkpoint with this name; raise `CheckpointError` if there is none or it is wrong."""
    folder = find_named_checkpoint(name, folders)
    try:
        return read_manifest(folder)
    except CheckpointError as error:
        _log.error("The checkpoint %s cannot be used: %s", name, error)
        raise CheckpointError(
            f"The manifest of checkpoint `{name}` is invalid. The log of the service and `warmcast doctor` say why."
        ) from error


def read_valid_manifests(folders: Sequence[Path]) -> Iterator[tuple[str, Manifest]]:
    """Yield name and manifest of every checkpoint whose manifest is valid, sorted by name; the log names the others."""
    for name in list_checkpoints(folders):
        try:
            yield name, read_named_manifest(name, folders)
        except CheckpointError:
            continue
