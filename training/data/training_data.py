"""The data of a training: frames of weather by valid time, and the samples that are made of them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from storage.errors import ConfigurationError
from training.data.batch import Batch, Following
from training.data.frames import FrameReader, list_runs
from training.data.kept_frames import KeptFrames
from training.data.statistics import compute_statistics, read_statistics, write_statistics
from weather.extremes import TrainingExtremes, compute_extremes
from weather.features import feature_series
from weather.manifest import Normalisation
from weather.periods import Period, select_times

Keep = Literal["auto", "device", "host", "stream"]
"""Where frames are during a training: in memory of the device or of the host, or read again in each epoch."""
Place = Literal["device", "host", "stream"]

DEFAULT_MEMORY_BYTES = 4 << 30
DEVICE_SHARE = 0.4
"""Part of the device's free memory that the frames of a record may have by `auto`."""
_PART_BYTES = 8 << 20


class TrainingData:
    """Frames of weather with ascending valid times, and the samples that are made of them.

    A sample is `context_frames` frames and a target, each one `time_step` after the one before. It is named by the
    index of its newest frame. A gap in the times removes the samples that it touches and no other. Records with a finer
    step than `time_step` have samples of all phases. `static` has the normalised static fields (field, latitude,
    longitude). `num_following` further time steps follow the target of each sample, by default none.
    """

    def __init__(
        self,
        reader: FrameReader,
        time_step: np.timedelta64,
        *,
        context_frames: int = 2,
        static: NDArray[np.float32] | None = None,
        features: tuple[str, ...] = (),
        stack: ExitStack | None = None,
    ) -> None:
        self.reader, self._feature_names, self._stack = reader, features, stack or ExitStack()
        self.grid, self.variables, self.valid_times = reader.grid, reader.variables, reader.valid_times
        self.time_step, self.context_frames = time_step, context_frames
        self.static = np.zeros((0, *self.grid.shape), np.float32) if static is None else static
        self.kept: KeptFrames | None = None
        self.num_following = 0

    def __enter__(self) -> "TrainingData":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and release the frames in memory."""
        self.kept = None
        self._stack.close()

    def keep(self, keep: Keep, device: torch.device, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> Place:
        """Read all frames into memory if `keep` says so or, by `auto`, if they fit; return where they are.

        `auto` takes the device if they need at most 40 % of its free memory, then the host if they need at most
        `memory_bytes`; on the CPU, device and host are one. Raises `ConfigurationError` for `device` and `host` if the
        memory cannot be allocated.
        """
        size = len(self.valid_times) * self.frame_bytes
        place = self._find_place(keep, device, size, memory_bytes)
        if place != "stream" and self.kept is None:
            try:
                self.kept = KeptFrames(self.reader, device if place == "device" else torch.device("cpu"))
            except (MemoryError, RuntimeError) as error:
                raise ConfigurationError(
                    f"`keep: {keep}` needs {size / 2**30:.1f} GiB of memory for {len(self.valid_times)} frames. Choose "
                    f"`stream`. Got: {error}"
                ) from error
        return place

    def _find_place(self, keep: Keep, device: torch.device, size: int, memory_bytes: int) -> Place:
        if keep != "auto":
            return "host" if keep == "device" and device.type == "cpu" else keep
        if device.type == "cuda" and size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
            return "device"
        return "host" if size <= memory_bytes else "stream"

    @property
    def frame_bytes(self) -> int:
        """Bytes of a packed frame in memory."""
        return self.reader.packing.frame_bytes(len(self.variables), self.grid.shape)

    @property
    def frames_per_sample(self) -> int:
        """The number of frames of a sample: its context, its target and what follows."""
        return self.context_frames + 1 + self.num_following

    def followed_by(self, count: int) -> "TrainingData":
        """Return the same data, of which each sample has `count` further time steps after its target, for rollouts.

        Frames in memory are shared. Samples without so many frames after them are left out.
        """
        data = copy(self)
        data.num_following = count
        return data

    def shift(self, indices: NDArray[np.int64], steps: int, years: Sequence[Period] | None = None) -> NDArray[np.int64]:
        """Return the index of the frame that is `steps` time steps after each of `indices`, -1 if there is none.

        With `years` there is none outside of them.
        """
        indices = np.asarray(indices, np.int64)
        wanted = self.valid_times[indices] + steps * self.time_step
        found = np.minimum(np.searchsorted(self.valid_times, wanted), len(self.valid_times) - 1)
        exists = (indices >= 0) & (self.valid_times[found] == wanted)
        if years is not None:
            exists &= self._is_in(years)[found]
        return np.where(exists, found, -1)

    def sample_indices(self, years: Sequence[Period]) -> NDArray[np.int64]:
        """Return the indices of the newest frames of the complete samples, ascending.

        All frames of a sample are in `years`, so that no frame is in both training and validation.
        """
        in_years = self._is_in(years)
        indices = np.flatnonzero(in_years)
        complete = np.ones(len(indices), bool)
        for steps in range(1 - self.context_frames, 2 + self.num_following):
            other = self.shift(indices, steps)
            complete &= (other >= 0) & in_years[other]
        return indices[complete]

    def sample_frames(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of the frames of samples (frame, sample): targets, then context, all newest first."""
        newest = 1 + self.num_following
        return np.stack([self.shift(indices, newest - age) for age in range(self.frames_per_sample)])

    def frames(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the frames (frame, variable, latitude, longitude) at `indices`, in physical units."""
        indices = np.asarray(indices, np.int64)
        return self.kept.read(indices) if self.kept else self.reader.read(indices)

    def batch(self, indices: NDArray[np.int64], device: torch.device | None = None) -> Batch:
        """Return the samples whose newest frames have the given indices, on `device`, by default the CPU."""
        indices = np.asarray(indices, np.int64)
        wanted = self.sample_frames(indices)
        frames = torch.from_numpy(self.frames(wanted.reshape(-1)).reshape(*wanted.shape, -1, *self.grid.shape))
        batch = self.assemble(frames, torch.from_numpy(self.sample_features(indices)))
        return batch if device is None else batch.to(device)

    def assemble(self, frames: Tensor, features: Tensor) -> Batch:
        """Return the batch made of frames in the order of `sample_frames`, and of the result of `sample_features`."""
        targets = frames[: 1 + self.num_following].flip(0)
        following = zip(features[1:], targets[1:], strict=True)
        context = tuple(frames[1 + self.num_following :])
        return Batch(context, targets[0], features[0], tuple(Following(*step) for step in following))

    def sample_features(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features of samples at each of their time steps (step, sample, feature, latitude, longitude)."""
        return np.stack([self.features(self.shift(indices, step)) for step in range(1 + self.num_following)])

    def features(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features (frame, feature, latitude, longitude) of the dates of frames."""
        return feature_series(self._feature_names, self.grid, self.valid_times[indices])

    def statistics(
        self, years: Sequence[Period], cache: Path | None = None
    ) -> tuple[tuple[Normalisation, ...], TrainingExtremes]:
        """Return each variable's mean and standard deviation over `years`, area-weighted, and the extremes of them.

        All frames of `years` are read once, in bounded memory, unless the file `cache` has the result; else it is
        written. A vector component's mean is 0. Raises `TrainingDataError` for a variable that is the same everywhere,
        and unless two frames are one time step apart.
        """
        chosen = np.flatnonzero(self._is_in(years))
        source = self._describe_frames(chosen)
        found = read_statistics(cache, source) if cache else None
        if found is None:
            parts = self._read_parts(chosen)
            found = compute_statistics(parts, self.variables, self.grid, self.time_step, years, source)
            if cache:
                write_statistics(cache, found)
        return found.variables, found.extremes

    def extremes(self, scale: Sequence[Normalisation], years: Sequence[Period]) -> TrainingExtremes:
        """Return the extremes over `years`, for a given mean and standard deviation of each variable."""
        parts = self._read_parts(np.flatnonzero(self._is_in(years)))
        scales = [(variable.name, variable.mean, variable.std) for variable in scale]
        return compute_extremes(parts, self.grid, scales, self.time_step)

    def _read_parts(self, indices: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
        max_frames = max(_PART_BYTES // (4 * len(self.variables) * int(np.prod(self.grid.shape))), 1)
        for run in list_runs(indices, self.reader.chunk_ids, max_frames):
            yield self.frames(run), self.valid_times[run]

    def _describe_frames(self, indices: NDArray[np.int64]) -> tuple[str, ...]:
        """Return what identifies frames: variables, grid, time step and digest of the valid times."""
        times = self.valid_times[indices].astype("datetime64[s]").astype(np.int64)
        return (*self.variables, str(self.grid), str(self.time_step), sha256(times.tobytes()).hexdigest())

    def _is_in(self, years: Sequence[Period]) -> NDArray[np.bool_]:
        """Return whether each frame is in one of `years`, which may be periods of any kind."""
        return select_times(self.valid_times, years)
