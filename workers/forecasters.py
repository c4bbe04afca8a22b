"""The forecasters of one checkpoint by mode: its networks are compiled by a thread, beside what is computed."""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context

import numpy as np
import torch

from jobs.mode import Mode
from models.compilation import Compiler
from models.execution import Execution
from models.forecaster import Forecaster
from models.graphs import CudaGraphs, Graphs
from models.networks import Networks
from weather.manifest import Sampling

_MAX_FORECASTERS = 4
"""Forecasters of other modes and samplers that are kept, each with its recorded steps."""
_ANY_TIME = np.datetime64("2000-01-01T00", "s")

_log = logging.getLogger(__name__)


class Forecasters:
    """Forecasters of `networks` on a device; what they compile and record is shared by all forecasts.

    `on_compiled` is called with the seconds of a compilation, in the thread that compiled.
    """

    def __init__(
        self,
        networks: Networks,
        device: torch.device,
        compiler: Compiler | None,
        on_compiled: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._networks, self._device, self._compiler, self._on_compiled = networks, device, compiler, on_compiled
        self._graphs: Graphs | None = CudaGraphs(device) if device.type == "cuda" else None
        self._by_mode: dict[Mode, Forecaster] = {}
        self._recorded: dict[tuple[Mode, Sampling], Forecaster] = {}
        self._compiled: set[tuple[Mode, int]] = set()
        self._thread: threading.Thread | None = None

    def find(self, mode: Mode, sampling: Sampling) -> Forecaster:
        """Return the forecaster of a mode and sampler; it is not compiled where this process cannot compile.

        Of a compiled mode, networks that are not compiled yet are compiled by the first step.
        """
        key = (mode, sampling)
        if key not in self._recorded:
            while len(self._recorded) >= _MAX_FORECASTERS:
                del self._recorded[next(iter(self._recorded))]
            self._recorded[key] = self._in_mode(mode, sampling).with_sampling(sampling, self._graphs)
        return self._recorded[key]

    def is_compiled(self, mode: Mode, members: int) -> bool:
        """Return whether the networks of a compiled mode are compiled for batches of `members`."""
        return (mode, members) in self._compiled and self._can_compile

    def compile_beside(self, mode: Mode, sampling: Sampling, members: int) -> None:
        """Begin to compile the networks of a mode for batches of `members`, unless they are, or another compiles."""
        is_busy = self._thread is not None and self._thread.is_alive()
        if not self._can_compile or is_busy or (mode, members) in self._compiled:
            return
        arguments = (mode, self._in_mode(mode, sampling), members)
        run = copy_context().run
        self._thread = threading.Thread(target=run, args=(self._compile, *arguments), name="compiler", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being compiled."""
        if self._thread is not None:
            self._thread.join()

    @property
    def _can_compile(self) -> bool:
        return self._compiler is not None and self._compiler.failure is None

    def _in_mode(self, mode: Mode, sampling: Sampling) -> Forecaster:
        if mode not in self._by_mode:
            execution = Execution(self._compiler if mode.compiled else None, mode.precision)
            self._by_mode[mode] = Forecaster(self._networks, sampling, self._device, execution)
        return self._by_mode[mode]

    def _compile(self, mode: Mode, forecaster: Forecaster, members: int) -> None:
        spec, began = forecaster.spec, time.perf_counter()
        fields = torch.zeros(members, len(spec.variables), *spec.grid.grid.shape, device=self._device)
        try:
            forecaster.step([fields] * spec.context_frames, _ANY_TIME, fields)
        except torch.OutOfMemoryError:
            _log.warning("Networks are not compiled for %d members: too little memory is free", members)
            return
        if self._can_compile:
            seconds = time.perf_counter() - began
            self._compiled.add((mode, members))
            _log.info("Networks are compiled for batches of %d members after %.0f s", members, seconds)
            self._on_compiled(seconds)
