"""`warmcast checkpoint inspect`: everything that is known of a checkpoint, without loading its networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weather.bundled import find_checkpoint
from weather.checkpoint_files import CARD_NAME, FILE_NAMES, count_parameters, read_license
from weather.damping_spec import DampingSpec
from weather.errors import CheckpointError
from weather.manifest import FLOW_FILE, WARM_START_FILE, ModelSpec, read_manifest
from weather.noise_colour import NoiseColour


def inspect_checkpoint(*, checkpoint: str, checkpoint_folders: Sequence[Path]) -> dict[str, Any]:
    """Return a description of a checkpoint by its name or folder; its weights are not read."""
    return describe_checkpoint(find_checkpoint(checkpoint, checkpoint_folders))


def describe_checkpoint(folder: Path) -> dict[str, Any]:
    """Return what the manifest in `folder` says, and the sizes of the files.

    `parameters` of a network is None if its file is missing or damaged. Raises `CheckpointError` for an invalid
    manifest.
    """
    manifest = read_manifest(folder)
    spec = manifest.model
    files = {name: folder / name for name in FILE_NAMES if (folder / name).is_file()}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    return {
        "name": manifest.name,
        "digest": manifest.digest,
        "folder": str(folder),
        "format_version": manifest.format_version,
        "variables": _describe_variables(spec),
        "grid": _describe_grid(spec),
        "time_step_hours": spec.time_step_hours,
        "context_frames": spec.context_frames,
        "static_fields": list(spec.static_fields),
        "features": list(spec.features),
        "networks": [
            {"name": "warm_start", "parameters": _count(folder / WARM_START_FILE)} | spec.warm_start.model_dump(),
            {"name": "flow", "parameters": _count(folder / FLOW_FILE)} | spec.flow.model_dump(),
        ],
        "std_floor": spec.std_floor,
        "preconditioning": spec.preconditioning,
        "sampling": manifest.sampling.model_dump(mode="json"),
        "noise": manifest.noise.model_dump(mode="json") | {"summary": manifest.noise.describe()},
        "colour": _describe_part(spec.colour),
        "damping": _describe_part(spec.damping),
        "provenance": manifest.provenance.model_dump(mode="json"),
        "extremes": _describe_extremes(spec),
        "license": read_license(folder),
        "card": CARD_NAME in files,
        "files": [
            {"name": name, "size_bytes": size, "sha256": manifest.files.get(name)} for name, size in sizes.items()
        ],
        "size_bytes": sum(sizes.values()),
    }


def _describe_part(part: NoiseColour | DampingSpec | None) -> dict[str, Any] | None:
    return None if part is None else part.model_dump(mode="json") | {"summary": part.describe()}


def _describe_variables(spec: ModelSpec) -> list[dict[str, Any]]:
    return [
        {
            "name": known.name,
            "long_name": known.long_name,
            "units": known.units,
            "mean": scale.mean,
            "std": scale.std,
            "valid_range": list(known.valid_range),
        }
        for known, scale in zip(spec.known_variables, spec.variables, strict=True)
    ]


def _describe_grid(spec: ModelSpec) -> dict[str, Any]:
    grid = spec.grid.grid
    return {
        "latitudes": grid.shape[0],
        "longitudes": grid.shape[1],
        "has_poles": grid.has_poles,
        "northernmost_latitude": grid.latitude[0],
        "longitude_step": 360 / grid.shape[1],
    }


def _describe_extremes(spec: ModelSpec) -> dict[str, Any] | None:
    extremes = spec.extremes
    if extremes is None:
        return None
    speed = None if extremes.wind_speed is None else extremes.wind_speed.model_dump()
    return {"num_frames": extremes.num_frames, "wind_speed": speed}


def _count(path: Path) -> int | None:
    try:
        return count_parameters(path)
    except (CheckpointError, OSError):
        return None
