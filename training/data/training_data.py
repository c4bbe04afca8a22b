"""The data of a training: frames of weather by valid time, and the samples that are made of them."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.batch import Batch
from weather.errors import TrainingDataError
from weather.extremes import TrainingExtremes, compute_extremes
from weather.features import feature_fields
from weather.grids import Grid
from weather.manifest import Normalisation
from weather.variables import KNOWN


@runtime_checkable
class FrameReader(Protocol):
    """Where the frames of a record are read."""

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return frames (frame, variable, latitude, longitude) in physical units."""


class TrainingData:
    """Frames of weather with ascending valid times, and the samples that are made of them.

    A sample is `context_frames` frames and a target, each one `time_step` after the one before. It is named by the
    index of its newest frame. A gap in the times removes the samples that it touches and no other. Records with a finer
    step than `time_step` have samples of all phases. `static` has the normalised static fields (field, latitude,
    longitude).
    """

    def __init__(
        self,
        reader: FrameReader,
        grid: Grid,
        variables: Sequence[str],
        valid_times: NDArray[Any],
        time_step: np.timedelta64,
        *,
        context_frames: int = 2,
        static: NDArray[np.float32] | None = None,
        features: tuple[str, ...] = (),
    ) -> None:
        self._reader, self._features = reader, features
        self.grid, self.variables = grid, tuple(variables)
        self.valid_times, self.time_step, self.context_frames = valid_times, time_step, context_frames
        self.static = np.zeros((0, *grid.shape), np.float32) if static is None else static

    def shift(self, indices: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
        """Return the index of the frame that is `steps` time steps after each of `indices`, -1 if there is none."""
        if not len(self.valid_times):
            return np.full(np.shape(indices), -1, np.int64)
        wanted = self.valid_times[indices] + steps * self.time_step
        found = np.minimum(np.searchsorted(self.valid_times, wanted), len(self.valid_times) - 1)
        return np.where((np.asarray(indices) >= 0) & (self.valid_times[found] == wanted), found, -1)

    def sample_indices(self, years: Sequence[int]) -> NDArray[np.int64]:
        """Return the indices of the newest frames of the complete samples, ascending.

        All frames of a sample are in `years`, so that no frame is in both training and validation.
        """
        indices = np.nonzero(self._is_in(years))[0]
        complete = np.ones(len(indices), bool)
        for steps in range(1 - self.context_frames, 2):
            other = self.shift(indices, steps)
            complete &= (other >= 0) & self._is_in(years)[other]
        return indices[complete]

    def frames(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the frames (frame, variable, latitude, longitude) at `indices`, in physical units."""
        return self._reader.read(np.asarray(indices, np.int64))

    def batch(self, indices: NDArray[np.int64], device: torch.device | None = None) -> Batch:
        """Return the samples whose newest frames have the given indices, on `device`, by default the CPU."""
        indices = np.asarray(indices, np.int64)
        frames = [torch.from_numpy(self.frames(self.shift(indices, 1 - age))) for age in range(self.context_frames + 1)]
        batch = Batch(tuple(frames[1:]), frames[0], torch.from_numpy(self.features(indices)))
        return batch if device is None else batch.to(device)

    def features(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features (frame, feature, latitude, longitude) of the dates of frames."""
        return np.stack([feature_fields(self._features, self.grid, time) for time in self.valid_times[indices]])

    def statistics(self, years: Sequence[int]) -> tuple[tuple[Normalisation, ...], TrainingExtremes]:
        """Return each variable's mean and standard deviation over `years`, area-weighted, and the extremes of them.

        A vector component's mean is 0. Raises `TrainingDataError` for a variable whose standard deviation is 0, and
        unless two frames are one time step apart.
        """
        chosen = np.nonzero(self._is_in(years))[0]
        frames = self.frames(chosen)
        weights = self.grid.area_weights[:, None]
        result = []
        for channel, name in enumerate(self.variables):
            field = frames[:, channel].astype(np.float64)
            mean = 0.0 if KNOWN[name].is_vector else float((field * weights).mean())
            std = float(np.sqrt((((field - mean) ** 2) * weights).mean()))
            if std == 0:
                raise TrainingDataError(f"`{name}` must vary over {list(years)}. Got: {mean:g} everywhere.")
            result.append(Normalisation(name=name, mean=mean, std=std))
        return tuple(result), self.extremes(result, years)

    def extremes(self, scale: Sequence[Normalisation], years: Sequence[int]) -> TrainingExtremes:
        """Return the extremes over `years`, for a given mean and standard deviation of each variable."""
        chosen = np.nonzero(self._is_in(years))[0]
        scales = [(variable.name, variable.mean, variable.std) for variable in scale]
        return compute_extremes(self.frames(chosen), self.valid_times[chosen], self.grid, scales, self.time_step)

    def _is_in(self, years: Sequence[int]) -> NDArray[np.bool_]:
        """Return whether each frame is in one of `years`."""
        return np.isin(self.valid_times.astype("datetime64[Y]").astype(int) + 1970, years)
