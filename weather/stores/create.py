"""Create an empty store with consolidated metadata, whole, and the attributes of stores."""

import importlib.metadata
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import Buffer

from storage.paths import StoragePath, storage_path
from weather.errors import CheckpointError, StorageFullError, StoreError
from weather.manifest import Manifest, Sampling
from weather.readers.provenance import ChosenSource
from weather.stores.chunks import METADATA_KEY

_warnings_lock = threading.Lock()
"""Held while warnings are silenced: Python does that for all threads of the process."""


def create_store(
    path: Path | StoragePath,
    attributes: Mapping[str, Any],
    create_arrays: Callable[[zarr.Group], None],
    needs_bytes: int,
) -> StoragePath:
    """Create a store with the arrays that `create_arrays` adds to an empty group; return its path.

    Raises `StoreError` if `path` exists, and `StorageFullError` if less than `needs_bytes` are free.
    """
    folder = storage_path(path)
    if folder.exists():
        raise StoreError(f"`{folder}` already exists. Choose another folder, or pass --resume to continue it.")
    free = folder.free_bytes()
    if free < needs_bytes:
        raise StorageFullError(
            f"`{folder.name}` may need {needs_bytes / 1e6:.1f} MB, but {free / 1e6:.1f} MB are free. Choose "
            "another disk, or fewer members or lead times."
        )
    folder.create_folder(empty_store(attributes, create_arrays))
    return folder


def empty_store(attributes: Mapping[str, Any], create_arrays: Callable[[zarr.Group], None]) -> dict[str, bytes]:
    """Return the files of an empty store by name, the root's metadata last."""
    files: dict[str, Buffer] = {}
    memory = zarr.storage.MemoryStore(files)
    create_arrays(zarr.create_group(memory, zarr_format=3, attributes=dict(attributes)))
    with _warnings_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(memory, zarr_format=3)
    return {name: files[name].to_bytes() for name in sorted(files, key=METADATA_KEY.__eq__)}


RNG_NAME = (
    "numpy Philox4x64, key (seed, seconds of the initial time since 1970), counter (0, 0, member, step), "
    "standard_normal float32"
)
"""The random numbers of `models.noise`."""

_PREFIX = "warmcast_"
_NOISE = "noise_"
_SCALE_OF = "scale_"


def identity_attributes(manifest: Manifest, sampling: Sampling, seed: int, state_digest: str) -> dict[str, Any]:
    """Return the attributes that, with the layout, determine a forecast's values; flat, as NetCDF requires."""
    identity = {
        "checkpoint": manifest.name,
        "checkpoint_digest": manifest.digest,
        "initial_state_digest": state_digest,
        "seed": seed,
        "rng": RNG_NAME,
        **sampling.model_dump(mode="json"),
        **{f"{_NOISE}{field}": value for field, value in _flatten(manifest.noise.parameters).items()},
    }
    return {f"{_PREFIX}{field}": value for field, value in identity.items()}


def check_rng(attributes: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` if a store was created for other random numbers than this version draws.

    Its lead times would be continued with other noise than they began with.
    """
    if (found := attributes.get(f"{_PREFIX}rng")) != RNG_NAME:
        raise CheckpointError(
            "The forecast was accepted by a version of Warmcast that draws other random numbers. Submit it again. "
            f"Expected: {RNG_NAME}. Got: {found}."
        )


def read_noise(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the noise of a forecast, as the attributes of its store say it: random numbers and parameters.

    A store of a version without correlated noise says nothing of its parameters.
    """
    prefix = f"{_PREFIX}{_NOISE}"
    named = {name.removeprefix(prefix): value for name, value in attributes.items() if name.startswith(prefix)}
    if scale := {name: named.pop(name) for name in list(named) if name.startswith(_SCALE_OF)}:
        named["scale"] = {name.removeprefix(_SCALE_OF): value for name, value in scale.items()}
    return {"rng": attributes.get(f"{_PREFIX}rng"), **named}


def _flatten(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Return parameters of noise with one number each: a scale by variable is `scale_u10` and so on."""
    flat = dict(parameters)
    if isinstance(scale := flat["scale"], Mapping):
        del flat["scale"]
        flat |= {f"{_SCALE_OF}{name}": value for name, value in scale.items()}
    return flat


def descriptive_attributes(
    manifest: Manifest, init_time: np.datetime64, sources: Sequence[str], choice: Sequence[ChosenSource] = ()
) -> dict[str, Any]:
    """Return the descriptive attributes: those of the CF conventions, the files of the initial state and the scales.

    `choice` says which records of the files the initial state is.
    """
    version = importlib.metadata.version("warmcast")
    description = {
        "Conventions": "CF-1.11",
        "title": f"Warmcast ensemble forecast from {np.datetime_as_string(init_time, 's')} UTC",
        "institution": "Warmcast",
        "source": f"Warmcast {version}, checkpoint {manifest.name}, trained on {manifest.provenance.data}",
        "history": f"{np.datetime_as_string(np.datetime64('now'), 's')}Z created by Warmcast",
        "references": "Scholz & Turner, Warm Starts Accelerate Conditional Diffusion, arXiv:2507.09212",
        "comment": manifest.provenance.attribution,
        "initial_state": " ".join(Path(source).name for source in sources),
        "warmcast_scales": [variable.std for variable in manifest.model.variables],
    }
    if choice:
        description["initial_state_choice"] = "; ".join(str(source.with_short_file()) for source in choice)
    return description
