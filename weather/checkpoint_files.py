"""The files of a checkpoint: which there are, whether they are those of its manifest, and the tensors they hold.

Nothing here loads torch; `models.checkpoint` loads the weights themselves.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weather.errors import CheckpointError
from weather.manifest import FLOW_FILE, MANIFEST_NAME, WARM_START_FILE, Manifest, file_digest

CARD_NAME = "README.md"
LICENSE_NAME = "LICENSE"
WEIGHT_FILES = (WARM_START_FILE, FLOW_FILE)
FILE_NAMES = (MANIFEST_NAME, *WEIGHT_FILES, CARD_NAME, LICENSE_NAME)
"""Names of the files of a checkpoint; it needs the first three."""

_STATIC_PREFIX = "static."
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000


def find_file_problems(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield name and problem, a sentence, of each weight file that is missing or is not the one of the manifest."""
    for name in WEIGHT_FILES:
        path, expected = folder / name, manifest.files.get(name)
        if expected is None:
            listed = ", ".join(manifest.files) or "none"
            yield name, f"`{folder / MANIFEST_NAME}` must list `{name}`. Got: {listed}."
        elif not path.is_file():
            yield name, f"`{folder}` lacks `{name}`, which its manifest lists."
        elif (digest := file_digest(path)) != expected:
            yield name, f"`{path}` is damaged: expected SHA-256 {expected}. Got: {digest}. Copy the checkpoint again."


def count_parameters(path: Path) -> int:
    """Return the number of weights in a file of a checkpoint, static fields apart.

    Raises `CheckpointError` if it is not a safetensors file.
    """
    shapes = read_tensor_shapes(path)
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.startswith(_STATIC_PREFIX))


def read_tensor_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of each tensor of a safetensors file, from its header alone.

    The format: the header's length in 8 bytes, little-endian, then the header in JSON. Raises `CheckpointError` if the
    file is of another format.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header: dict[str, Any] = json.loads(file.read(min(length, _MAX_HEADER_BYTES)))
        return {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"`{path}` is not a safetensors file: {error}.") from error


def read_license(folder: Path) -> str | None:
    """Return the first line of a checkpoint's licence that is not empty; None if it has no licence."""
    try:
        text = (folder / LICENSE_NAME).read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return next((line.strip() for line in text.splitlines() if line.strip()), None)
