"""How long the phases of a lead time of a group take, and how many evaluations are made."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from jobs.measures import EVALUATIONS, STEP_SECONDS, Tally

Mark = float | torch.cuda.Event
Lap = Callable[[], Mapping[str, float]]
"""Returns the seconds of each phase; to be asked once the device has done what it was told."""


class StepClock:
    """Tells a tally of evaluations and phases; hears of each evaluation as the forecaster's watch.

    `before_each` evaluation is called, and may end the rollout by raising.
    """

    def __init__(self, tally: Tally, model: str, device: torch.device, before_each: Callable[[], None]) -> None:
        self._tally, self._model, self._device, self._before_each = tally, model, device, before_each
        self._marks: list[tuple[str, Mark]] = []

    def before(self, network: str, members: int) -> None:
        """Count an evaluation; a phase begins where it is another network's than the last."""
        self._before_each()
        self._tally.count(EVALUATIONS, self._model, by=members)
        if not self._marks or self._marks[-1][0] != network:
            self._marks.append((network, self._mark()))

    def lap(self) -> Lap:
        """End the phases of a lead time of a group."""
        marks, end, self._marks = self._marks, self._mark(), []

        def seconds() -> Mapping[str, float]:
            ends = [mark for _, mark in marks[1:]] + [end]
            return {phase: _seconds(mark, over) for (phase, mark), over in zip(marks, ends, strict=True)}

        return seconds

    def tell(self, lap: Lap) -> None:
        """Tell the tally of phases that the device has done."""
        for phase, seconds in lap().items():
            self._tally.observe(STEP_SECONDS, self._model, phase, value=seconds)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase of the host's."""
        began = time.perf_counter()
        yield
        self._tally.observe(STEP_SECONDS, self._model, name, value=time.perf_counter() - began)

    def _mark(self) -> Mark:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


def _seconds(begin: Mark, end: Mark) -> float:
    if isinstance(begin, float) and isinstance(end, float):
        return end - begin
    assert not isinstance(begin, float)
    assert not isinstance(end, float)
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000
