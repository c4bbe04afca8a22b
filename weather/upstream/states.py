"""What an initial state from a data set needs: its time, the files of its frames, and the terms of its origin."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from storage.errors import ConfigurationError
from weather.errors import UpstreamError
from weather.initial_state import InitialState
from weather.manifest import ModelSpec
from weather.times import parse_time
from weather.upstream.dataset import Dataset

CACHE = "analyses"
"""Name of the cache of fetched analyses in the data folder."""
_ATTEMPTS = 2


def check_time(dataset: Dataset, text: str, now: np.datetime64) -> np.datetime64:
    """Return an initial time of a data set; raise `ConfigurationError` unless it has analyses of such an hour."""
    init_time, hours = parse_time(text), dataset.step_hours
    if init_time.astype("int64") % (3600 * hours):
        raise ConfigurationError(
            f"`init_time` must be a time of an analysis of {dataset.name}, every {hours} h from 00 UTC. Got: {text!r}.",
            ("init_time",),
        )
    if init_time > now:
        raise ConfigurationError(f"`init_time` must not be in the future. Got: {text!r}.", ("init_time",))
    return init_time


def check_newest(dataset_name: str, newest: np.datetime64 | None) -> np.datetime64:
    """Return the newest initial time of a data set; raise `UpstreamError` if there is none."""
    if newest is None:
        message = f"Data set {dataset_name} has no two whole analyses 6 h apart yet. Try again later."
        raise UpstreamError(dataset_name, message)
    return newest


def frame_times(init_time: np.datetime64, spec: ModelSpec) -> list[np.datetime64]:
    """Return the times of the frames of an initial state, ascending."""
    return [init_time - index * spec.time_step for index in reversed(range(spec.context_frames))]


def fetch_links(dataset: Dataset, times: Sequence[np.datetime64]) -> tuple[Path, list[str]]:
    """Return a temporary folder with links to the files of these times, and their names; the caller removes it.

    With links of its own, a state is read whole even if the cache makes space meanwhile. Raises `UpstreamError`.
    """
    folder = Path(tempfile.mkdtemp(prefix="warmcast-analyses-"))
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            files = dataset.fetch(times)
            for path in files:
                _link_or_copy(path, folder / path.name)
        except FileNotFoundError as error:
            if attempt == _ATTEMPTS:
                shutil.rmtree(folder, ignore_errors=True)
                message = f"The files of data set {dataset.name} disappear while they are read. Try again later."
                raise UpstreamError(dataset.name, message) from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        else:
            return folder, [path.name for path in files]
    raise AssertionError


def with_origin(state: InitialState, dataset: Dataset) -> InitialState:
    """Return a state whose sources name the data set, its attribution and its licence."""
    description = dataset.description
    terms = [text for text in (description.attribution, description.licence) if text]
    note = f"data set {dataset.name}" + (f" ({'; '.join(terms)})" if terms else "")
    choice = tuple(each.model_copy(update={"notes": (*each.notes, note)}) for each in state.choice)
    return replace(state, choice=choice)


def _link_or_copy(path: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # on another disk
        shutil.copyfile(path, target)
