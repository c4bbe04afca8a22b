"""What ships with Warmcast beside its code: checkpoints and samples of weather."""

import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from weather.errors import CheckpointError
from weather.manifest import MANIFEST_NAME

DEFAULT_CHECKPOINT = "demo"


def bundled(kind: Literal["checkpoints", "samples"]) -> Path:
    """Return the folder of bundled checkpoints or samples: the checkout's, or the installed distribution's."""
    checkout = Path(__file__).resolve().parent.parent / kind
    return checkout if checkout.is_dir() else Path(sysconfig.get_path("data")) / "share" / "warmcast" / kind


def find_checkpoint(name_or_path: str, folders: Sequence[Path]) -> Path:
    """Return the folder of a checkpoint, named by its path or by its name in one of `folders` or among the bundled.

    Raises `CheckpointError` that lists what there is.
    """
    places = [Path(name_or_path), *(folder / name_or_path for folder in (*folders, bundled("checkpoints")))]
    for place in places:
        if (place / MANIFEST_NAME).is_file():
            return place
    known = known_checkpoints(folders)
    raise CheckpointError(
        f"No checkpoint `{name_or_path}`: expected a folder with {MANIFEST_NAME}, or one of {known}. "
        "More folders of checkpoints are named by WARMCAST_CHECKPOINTS."
    )


def known_checkpoints(folders: Sequence[Path]) -> list[str]:
    """Return the names of the checkpoints in `folders` and among the bundled, in order."""
    places = (*folders, bundled("checkpoints"))
    return sorted({path.parent.name for folder in places for path in folder.glob(f"*/{MANIFEST_NAME}")})
