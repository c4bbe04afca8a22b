"""How long the phases of a lead time of a group take, and how many evaluations are made."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from jobs.measures import EVALUATIONS, STEP_SECONDS, Tally

Mark = float | torch.cuda.Event
Stepped = Callable[[float, float, float], None]


@dataclass(frozen=True)
class Lap:
    """Where the phases of a lead time of a group begin, and where the last one ends."""

    marks: tuple[tuple[str, Mark], ...]
    end: Mark

    def seconds(self) -> Mapping[str, float]:
        """Return the seconds of each phase; waits for the device to have done them."""
        ends = [mark for _, mark in self.marks[1:]] + [self.end]
        return {phase: _seconds(mark, over) for (phase, mark), over in zip(self.marks, ends, strict=True)}


class StepClock:
    """Tells a tally of evaluations and phases; hears of each evaluation as the forecaster's watch.

    `before_each` evaluation is called, and may end the rollout by raising. `stepped` hears of each lead time of a
    group the seconds of the warm start and of the flow, and when it ended.
    """

    def __init__(
        self, tally: Tally, model: str, device: torch.device, before_each: Callable[[], None], stepped: Stepped
    ) -> None:
        self._tally, self._model, self._device = tally, model, device
        self._before_each, self._stepped = before_each, stepped
        self._marks: list[tuple[str, Mark]] = []

    def before(self, network: str, members: int) -> None:
        """Count an evaluation; a phase begins where it is another network's than the last."""
        self._before_each()
        self._tally.count(EVALUATIONS, self._model, by=members)
        if not self._marks or self._marks[-1][0] != network:
            self._marks.append((network, self._mark()))

    def lap(self) -> Lap:
        """End the phases of a lead time of a group."""
        lap, self._marks = Lap(tuple(self._marks), self._mark()), []
        return lap

    def tell(self, lap: Lap) -> None:
        """Tell of phases that the device has done."""
        phases = lap.seconds()
        for phase, seconds in phases.items():
            self._tally.observe(STEP_SECONDS, self._model, phase, value=seconds)
        ended = lap.end if isinstance(lap.end, float) else time.perf_counter()
        self._stepped(phases.get("warm_start", 0.0), phases.get("flow", 0.0), ended)

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
