"""Files from strangers become an initial state, or the truth that a forecast is verified against."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weather.errors import InitialStateError, VerificationError
from weather.grids import Grid
from weather.ingest.artefact import read_canonical, read_frames
from weather.ingest.parsing import AMPLE, Limits, label_of, parsed_in_child
from weather.initial_state import InitialState
from weather.manifest import ModelSpec


def ingest(
    files: Sequence[Path],
    names: Sequence[str],
    spec: ModelSpec,
    init_time: np.datetime64 | None,
    limits: Limits = AMPLE,
) -> InitialState:
    """Return the initial state in `files`, which are called `names` in what users read.

    Raises what `parsed_in_child` does, and plain `InitialStateError` for files that do not hold what is needed.
    """
    wanted = {
        "kind": "initial_state",
        "spec": spec.model_dump(mode="json"),
        "init_time": None if init_time is None else np.datetime_as_string(init_time, "s"),
    }
    with parsed_in_child(files, names, wanted, limits) as (output, problems):
        if problems:
            raise InitialStateError(label_of(names), problems)
        return read_canonical(output)


def ingest_truth(
    files: Sequence[Path],
    names: Sequence[str],
    variables: Sequence[str],
    grid: Grid,
    times: Sequence[np.datetime64],
    limits: Limits = AMPLE,
) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames in `files` at those of `times` that they have, (variable, latitude, longitude) on `grid`.

    Raises what `parsed_in_child` does, and `VerificationError` for files that do not fit.
    """
    wanted = {
        "kind": "truth",
        "variables": list(variables),
        "latitude": list(grid.latitude),
        "longitude": list(grid.longitude),
        "times": [np.datetime_as_string(time, "s") for time in times],
    }
    with parsed_in_child(files, names, wanted, limits) as (output, problems):
        if problems:
            raise VerificationError(" ".join(problems))
        return read_frames(output)
