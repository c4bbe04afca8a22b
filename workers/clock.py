"""How long the phases of a rollout take, and how many evaluations it makes: hooks around both networks."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from jobs.measures import EVALUATIONS, STEP_SECONDS, Tally
from models.build import Networks


class StepClock:
    """Tells a tally the seconds of each phase of a lead time of a group."""

    def __init__(self, tally: Tally, model: str, device: torch.device) -> None:
        self._tally, self._model, self._device = tally, model, device
        self._began = self._warm_start_seconds = 0.0

    @contextmanager
    def watching(self, networks: Networks, before_each: Callable[[], None]) -> Iterator[None]:
        """Count and time the evaluations of both networks; `before_each` of them is called, and may end the walk."""
        warm_start = networks.warm_start
        hooks = [
            network.register_forward_pre_hook(self._counted(before_each)) for network in (warm_start, networks.flow)
        ]
        hooks += [warm_start.register_forward_pre_hook(self._begin), warm_start.register_forward_hook(self._end)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def rollout(self) -> Iterator[None]:
        """Time one step of the rollout: the warm start apart, the rest as the flow."""
        self._warm_start_seconds, began = 0.0, time.perf_counter()
        yield
        flow = time.perf_counter() - began - self._warm_start_seconds
        self._tally.observe(STEP_SECONDS, self._model, "warm_start", value=self._warm_start_seconds)
        self._tally.observe(STEP_SECONDS, self._model, "flow", value=flow)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time another phase."""
        began = time.perf_counter()
        yield
        self._tally.observe(STEP_SECONDS, self._model, name, value=time.perf_counter() - began)

    def _counted(self, before_each: Callable[[], None]) -> Callable[..., None]:
        def hook(_network: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            before_each()
            self._tally.count(EVALUATIONS, self._model, by=len(inputs[0]))

        return hook

    def _begin(self, *_: Any) -> None:
        self._began = self._now()

    def _end(self, *_: Any) -> None:
        self._warm_start_seconds += self._now() - self._began

    def _now(self) -> float:
        """Return the time once the device has done what it was told; one evaluation in a step is timed so."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
