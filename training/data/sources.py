"""The data that a user names, for the checkpoints that are to read it."""

from collections.abc import Sequence
from pathlib import Path

from training.data.loading import load_training_data
from training.data.training_data import TrainingData
from weather.errors import TrainingDataError
from weather.manifest import ModelSpec

_SUFFIXES = (".nc", ".nc4", ".grib", ".grb", ".grib1", ".grib2", ".grb2", ".zarr", ".zip", ".gz", ".bz2")
"""Ends of the names of files in a folder that are data."""


def load_data_for(model: ModelSpec, data: Sequence[str | Path], *, context_frames: int | None = None) -> TrainingData:
    """Return the frames of the files, folders and addresses in `data`, with a checkpoint's variables.

    Frames on another grid are regridded to the checkpoint's, as initial states are. Samples have `context_frames`
    frames, by default the checkpoint's. Raises `TrainingDataError` if they cannot be read or lack a variable.
    """
    return load_training_data(
        list_data_files(data),
        model.variable_names,
        time_step_hours=model.time_step_hours,
        context_frames=context_frames or model.context_frames,
        grid=model.grid.grid,
    )


def list_data_files(sources: Sequence[str | Path]) -> list[str]:
    """Return the files, Zarr stores and addresses among `sources`, and the files in the folders among them, by name."""
    files: list[str] = []
    for source in map(str, sources):
        path = Path(source)
        if "://" in source or path.is_file() or (path / "zarr.json").exists() or (path / ".zgroup").exists():
            files.append(source)
        elif path.is_dir():
            found = sorted(str(file) for file in path.iterdir() if file.name.lower().endswith(_SUFFIXES))
            if not found:
                raise TrainingDataError(
                    f"`{source}` must hold files or Zarr stores whose names end with {', '.join(_SUFFIXES)}. Got: none."
                )
            files += found
        else:
            raise TrainingDataError(
                "`data` must be a file, a Zarr store, a folder of them, or an address. "
                f"Got: `{source}`, which does not exist."
            )
    return files
