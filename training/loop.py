"""The training loop of a stage: optimiser steps, reports, validation, saved state."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from training.draws import Purpose, stream_seed
from training.errors import NotFiniteError, StoppedError
from training.logs import Progress, TimeLeft
from training.losses import StepInputs
from training.optimisation import learning_rate
from training.processes import Processes
from training.state import StageProgress, load_state, save_state
from training.step import OptimiserStep
from training.stopping import StopSignal
from training.validation_records import Scores

_MIN_SCALE = 2.0**-40
"""Smallest scale of a float16 loss; below it gradients have overflowed in every step for long."""


@dataclass(frozen=True)
class Stage:
    """The training of one network or both.

    `inputs` yields those of consecutive steps to this process. `make_step` is `step`, or its recording. `validate`,
    which only the first process calls, scores the averaged weights after a number of steps. `keep_batch` writes the
    whole batch of a step to a file.
    """

    name: str
    seed: int
    num_steps: int
    batch_size: int
    step: OptimiserStep
    make_step: Callable[[StepInputs], None]
    inputs: Callable[[range], AbstractContextManager[Iterable[StepInputs]]]
    validate: Callable[[int], Scores]
    keep_batch: Callable[[int], Path]
    state_path: Path
    save_every: int
    validate_every: int
    report_every: int


class StageRun:
    """One run of a stage, by one of its processes."""

    def __init__(
        self, stage: Stage, processes: Processes, stop: StopSignal, report: Callable[[Progress], None]
    ) -> None:
        self._stage, self._processes, self._stop, self._report = stage, processes, stop, report
        self._progress = load_state(stage.state_path, stage.step.optimisers)
        self._seconds_before = self._progress.seconds
        if self._progress.scaler:
            stage.step.scaler.load_state_dict(self._progress.scaler)
        self._started = self._interval_started = time.monotonic()
        self._interval_steps = 0
        self._time_left = TimeLeft(self._progress.steps, stage.num_steps)

    def run(self) -> float:
        """Make the steps that are left, and return the seconds spent, those of earlier runs included.

        Raises `NotFiniteError` at the first report after a loss or gradient that is not finite, and `StoppedError`
        after a signal to end.
        """
        stage, steps = self._stage, range(self._progress.steps, self._stage.num_steps)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        self._interval_started = time.monotonic()
        with torch.random.fork_rng(devices), stage.inputs(steps) as batches:
            for step, inputs in zip(steps, batches, strict=True):
                torch.manual_seed(stream_seed(stage.seed, Purpose.DROPOUT, step, self._processes.rank))
                stage.step.prepare(step)
                stage.make_step(inputs)
                self._interval_steps += 1
                self._finish_step(step + 1)
        return self._seconds()

    def _finish_step(self, done: int) -> None:
        """Report, validate and save after `done` steps where that is due."""
        stage, is_last = self._stage, done == self._stage.num_steps
        stops = self._processes.is_any(self._stop.is_set) and not is_last
        validates = is_last or done % stage.validate_every == 0
        saves = is_last or stops or done % stage.save_every == 0
        if not (validates or saves or done % stage.report_every == 0):
            return
        losses = self._read_losses()
        rate = self._interval_steps / max(time.monotonic() - self._interval_started, 1e-9)
        if self._processes.is_first:
            scores = stage.validate(done) if validates else None
            self._report(self._describe(done, losses, rate, scores))
            if saves:
                progress = StageProgress(done, self._seconds(), stage.step.scaler.state_dict())
                save_state(stage.state_path, progress, stage.step.optimisers)
        self._processes.wait()
        if stops:
            raise StoppedError(
                f"The training got a signal to end. Its state after step {done} of the stage `{stage.name}` is saved. "
                "To continue, repeat the command with --resume."
            )
        self._interval_started, self._interval_steps = time.monotonic(), 0

    def _read_losses(self) -> dict[str, float]:
        """Wait for the device and return the means since the last report; all of them must be finite."""
        sums = self._stage.step.sums
        bad_step = self._processes.largest(sums.read_first_bad_step())
        if bad_step >= 0:
            self._end_at(bad_step)
        if self._stage.step.scaler.is_enabled() and self._stage.step.scaler.get_scale() < _MIN_SCALE:
            self._end_at(self._progress.steps + self._interval_steps - 1)
        self._processes.add_up(sums.values)
        sums.values /= self._processes.count
        return sums.read(self._interval_steps)

    def _end_at(self, step: int) -> None:
        """Raise `NotFiniteError` for a step, whose batch the first process keeps."""
        name = self._stage.name
        path = self._stage.keep_batch(step) if self._processes.is_first else self._stage.state_path.parent
        self._processes.wait()
        raise NotFiniteError(
            f"The loss or the gradient of step {step + 1} of the stage `{name}` is not finite, and the training ends. "
            f"Its batch is kept in `{path}`. Look for wrong values there, or lower `learning_rate` or `clip_norm`. "
            "The state saved before it is kept."
        )

    def _describe(self, done: int, losses: dict[str, float], rate: float, scores: Scores | None) -> Progress:
        stage = self._stage
        optimiser = list(stage.step.optimisers.values())[-1]
        return Progress(
            stage=stage.name,
            step=done,
            steps=stage.num_steps,
            losses={name: value for name, value in losses.items() if name != "grad_norm"},
            grad_norm=losses["grad_norm"],
            learning_rate=learning_rate(optimiser.config, done - 1),
            samples_per_second=rate * stage.batch_size,
            seconds_left=self._time_left.update(done),
            validation=scores,
        )

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started
