"""Functions recorded as CUDA graphs: their kernels are recorded once, then launched by one call."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

_EAGER_CALLS = 2
"""Calls before the recording, in which cuBLAS and cuDNN allocate what they keep."""

ALONE = threading.RLock()
"""Held by the one thread of a process that records or compiles: a compilation waits for the whole device in between,
and a recording fails if any thread does so meanwhile."""

_log = logging.getLogger(__name__)


@runtime_checkable
class Graphs(Protocol):
    """How functions without arguments are recorded on a device."""

    def warm_up(self, function: Callable[[], None]) -> None:
        """Run `function` in the way that a recording needs beforehand."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return a function that repeats what `function` does, on the same memory; nothing is computed here."""


class CudaGraphs:
    """CUDA graphs of one device; it begins with those that are urgent before other work that waits."""

    def __init__(self, device: torch.device, *, is_urgent: bool = False) -> None:
        self._stream = torch.cuda.Stream(device, priority=-1 if is_urgent else 0)

    def warm_up(self, function: Callable[[], None]) -> None:
        """Run `function` on the stream of the recording."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            function()
        current.wait_stream(self._stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record `function`; other threads may use the device meanwhile, such as the loader's."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            function()
        return graph.replay


@dataclass
class _Recording:
    """What is known of a function for one combination of shapes: its calls, its memory, and how it is repeated."""

    calls: int = 0
    inputs: tuple[Tensor, ...] = ()
    outputs: list[tuple[Tensor, ...]] = field(default_factory=list)
    replay: Callable[[], None] | None = None


class RecordedFunction:
    """A function of tensors that is recorded for each combination of their shapes, after its first calls with it.

    The function returns tensors and must neither change its arguments nor wait for the device. Where it cannot be
    recorded, it runs as it is from then on, and one line is logged, which says what `name` is. While another thread
    records or compiles, it runs as it is, too.
    """

    def __init__(self, name: str, function: Callable[..., tuple[Tensor, ...]], graphs: Graphs) -> None:
        self._name, self._function, self._graphs = name, function, graphs
        self._recordings: dict[tuple[torch.Size, ...], _Recording] = {}
        self._can_record = True

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the function returns; the results are new memory, which later calls leave alone.

        If memory runs out, all recordings are discarded before the error is raised.
        """
        if not self._can_record:
            return self._function(*inputs)
        try:
            return self._call(inputs)
        except torch.OutOfMemoryError:
            self.discard()
            raise

    def _call(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        recording = self._recordings.setdefault(tuple(tensor.shape for tensor in inputs), _Recording())
        recording.calls += 1
        if recording.calls <= _EAGER_CALLS:
            return self._warm_up(inputs)
        if recording.replay is None:
            if not ALONE.acquire(blocking=False):
                return self._warm_up(inputs)
            try:
                self._record(recording, inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if _is_out_of_memory(error):
                    raise torch.OutOfMemoryError(str(error)) from error
                self._give_up(error)
                return self._function(*inputs)
            finally:
                ALONE.release()
        for own, new in zip(recording.inputs, inputs, strict=True):
            own.copy_(new, non_blocking=True)
        assert recording.replay is not None
        recording.replay()
        return tuple(output.clone() for output in recording.outputs[-1])

    def discard(self) -> None:
        """Forget all recordings, which frees their memory."""
        self._recordings.clear()

    def _warm_up(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        outputs: list[tuple[Tensor, ...]] = []
        self._graphs.warm_up(lambda: outputs.append(self._function(*inputs)))
        return tuple(output.clone() for output in outputs[0])

    def _record(self, recording: _Recording, inputs: tuple[Tensor, ...]) -> None:
        recording.inputs = tuple(tensor.contiguous().clone() for tensor in inputs)
        recording.replay = self._graphs.record(lambda: recording.outputs.append(self._function(*recording.inputs)))

    def _give_up(self, error: RuntimeError) -> None:
        self._can_record = False
        self.discard()
        first = next(iter(str(error).strip().splitlines()), "")
        _log.warning("%s cannot be recorded as graphs and run without: %s", self._name, first)


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether memory ran out: CUDA then also ends the recording with another error, which follows the first."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
