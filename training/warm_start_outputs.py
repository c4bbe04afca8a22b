"""The outputs of the fixed h for all training samples, kept on the device or in a file while p' is trained."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.execution import Execution
from models.networks import Networks
from models.shapes import Fields
from storage.atomic import write_text
from training.data.loader import Loader
from training.data.training_data import TrainingData
from training.devices import free_bytes
from training.processes import Processes

_CHUNK_SIZE = 16
"""Number of samples that are evaluated together."""

OUTPUTS_SHARE = 0.5
"""Largest part of the free memory or disk that the outputs take unless the configuration names the place."""

Place = Literal["device", "disk", "none"]


@runtime_checkable
class WarmStartOutputs(Protocol):
    """Known outputs of h."""

    def __call__(self, indices: NDArray[np.int64]) -> tuple[Fields, Fields]:
        """Return mean and standard deviation of h, float32 on the device, for samples by their newest frames."""


class WarmStartEvaluator:
    """Evaluates h for all `samples` (ascending), each process for its part of them.

    `check` is called between evaluations, and may end them by an error.
    """

    def __init__(
        self,
        networks: Networks,
        data: TrainingData,
        samples: NDArray[np.int64],
        device: torch.device,
        execution: Execution,
        memory_bytes: int,
        check: Callable[[], None],
    ) -> None:
        self._networks, self._data, self.samples, self.device = networks, data, samples, device
        self._execution, self._memory_bytes, self._check = execution, memory_bytes, check
        self.shape = (2, len(data.variables), *data.grid.shape)
        """Shape of the outputs of a sample: mean and standard deviation of each variable."""

    @property
    def num_bytes(self) -> int:
        """Size of all outputs."""
        return len(self.samples) * int(np.prod(self.shape)) * 4

    def choose_place(self, wanted: Literal["auto", "device", "disk", "none"], folder: Path) -> Place:
        """Return where the outputs are kept; `auto` is the first of device and disk of `folder` that has room."""
        if wanted != "auto":
            return wanted
        if self.num_bytes <= OUTPUTS_SHARE * free_bytes(self.device):
            return "device"
        return "disk" if self.num_bytes <= OUTPUTS_SHARE * shutil.disk_usage(folder).free else "none"

    def digest(self, processes: Processes) -> str:
        """Return a digest of everything that determines the outputs and the order in which they are evaluated."""
        content = hashlib.sha256(json.dumps([self.shape, processes.count]).encode())
        content.update(self.samples.tobytes())
        for weight in self._networks.warm_start.state_dict().values():
            content.update(weight.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()

    def evaluate(self, rows: range) -> Iterator[tuple[slice, Tensor]]:
        """Yield the outputs of consecutive samples, and their rows, until those in `rows` are done."""
        chunks = [slice(first, min(first + _CHUNK_SIZE, rows.stop)) for first in rows[::_CHUNK_SIZE]]

        def indices(chunk: int) -> NDArray[np.int64]:
            return self.samples[chunks[chunk]]

        with Loader(self._data, indices, range(len(chunks)), self.device, self._memory_bytes) as loader:
            for chunk, batch in zip(chunks, loader, strict=True):
                self._check()
                with torch.inference_mode(), self._execution.autocast(self.device):
                    mean, std = self._networks.warm_start(self._networks.context(batch.frames, batch.features))
                    outputs = torch.stack([mean.float(), std.float()], dim=1)
                yield chunk, outputs


def _own_rows(count: int, processes: Processes) -> range:
    """Return the rows that this process evaluates."""
    bounds = [count * rank // processes.count for rank in range(processes.count + 1)]
    return range(bounds[processes.rank], bounds[processes.rank + 1])


class OutputsOnDevice:
    """Outputs in the memory of the device; they are evaluated again after an interruption."""

    def __init__(self, evaluator: WarmStartEvaluator, processes: Processes) -> None:
        self._samples = evaluator.samples
        self._values = torch.zeros(len(self._samples), *evaluator.shape, device=evaluator.device)
        for chunk, outputs in evaluator.evaluate(_own_rows(len(self._samples), processes)):
            self._values[chunk] = outputs
        processes.wait()
        processes.add_up(self._values)

    def __call__(self, indices: NDArray[np.int64]) -> tuple[Fields, Fields]:
        """Return mean and standard deviation of samples."""
        rows = torch.from_numpy(np.searchsorted(self._samples, indices)).to(self._values.device, non_blocking=True)
        values = self._values[rows]
        return values[:, 0], values[:, 1]


class OutputsOnDisk:
    """Outputs in a file, whose evaluation continues after an interruption; its memory is the system's file cache."""

    def __init__(self, evaluator: WarmStartEvaluator, processes: Processes, path: Path) -> None:
        self._samples, self._device, self._shape = evaluator.samples, evaluator.device, evaluator.shape
        self._row_bytes = int(np.prod(evaluator.shape)) * 4
        progress = path.with_name(f"{path.name}.{processes.rank}.json")
        key = evaluator.digest(processes)
        rows = _own_rows(len(self._samples), processes)
        done = _read_done(progress, key) if path.exists() else 0
        path.touch()
        with path.open("r+b") as file:
            for chunk, outputs in evaluator.evaluate(rows[done:]):
                file.seek(chunk.start * self._row_bytes)
                file.write(outputs.cpu().numpy().tobytes())
                file.flush()
                os.fdatasync(file.fileno())
                write_text(progress, json.dumps({"key": key, "rows": chunk.stop - rows.start}))
        processes.wait()
        self._path = path

    def __call__(self, indices: NDArray[np.int64]) -> tuple[Fields, Fields]:
        """Return mean and standard deviation of samples."""
        rows = np.searchsorted(self._samples, indices)
        is_cuda = self._device.type == "cuda"
        values = torch.empty(len(rows), *self._shape, pin_memory=is_cuda)
        with self._path.open("rb", buffering=0) as file:
            for row, target in zip(rows, values.numpy(), strict=True):
                size = os.preadv(file.fileno(), [memoryview(target).cast("B")], int(row) * self._row_bytes)
                if size < self._row_bytes:
                    raise OSError(errno.EIO, "The file of outputs of the warm start is cut", str(self._path))
        values = values.to(self._device, non_blocking=True)
        return values[:, 0], values[:, 1]


def remove_outputs(path: Path) -> None:
    """Remove a file of outputs, which is no longer needed, and what belongs to it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def _read_done(path: Path, key: str) -> int:
    """Return how many rows of this process are in the file of outputs, 0 if they are those of another key."""
    try:
        progress = json.loads(path.read_text())
    except FileNotFoundError:
        return 0
    return int(progress["rows"]) if progress["key"] == key else 0
