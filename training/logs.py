"""The log of a training: `progress.jsonl`, a line of JSON for each report, and the same as TensorBoard event files."""

import json
import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from storage.atomic import write_text
from training.validation_records import Scores

LOG_NAME = "progress.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
_FLUSH_SECONDS = 5


@dataclass(frozen=True)
class Progress:
    """Progress of a stage, averaged since the last report; `validation` is set after a validation."""

    stage: str
    step: int
    steps: int
    losses: Mapping[str, float]
    grad_norm: float
    learning_rate: float
    samples_per_second: float
    seconds_left: float
    validation: Scores | None = None


class RunLog:
    """The log in the output folder of a training: `progress.jsonl` and the event files in `tensorboard/STAGE`.

    Numbers that are not finite are null in JSON. Of spectra, TensorBoard gets none.
    """

    def __init__(self, output: Path) -> None:
        self._path, self._folder = output / LOG_NAME, output / TENSORBOARD_FOLDER
        self._writers: dict[str, SummaryWriter] = {}
        self._first_steps: dict[str, int] = {}

    def truncate(self, stage: str, step: int) -> None:
        """Remove what was logged of `stage` after `step`, which is made again, and a line that was cut off."""
        if self._path.exists():
            lines = self._path.read_text("utf-8").splitlines(keepends=True)
            write_text(self._path, "".join(line for line in lines if not _is_made_again(line, stage, step)))
        self._first_steps[stage] = step + 1

    def report(self, progress: Progress) -> None:
        """Log a report: its line is in the file when the call returns, its scalars are within seconds."""
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(_finite_or_none(asdict(progress)), allow_nan=False) + "\n")
        writer = self._writers.get(progress.stage) or self._open_writer(progress.stage)
        for tag, value in _scalars(progress).items():
            writer.add_scalar(tag, value, progress.step)

    def close(self) -> None:
        """Write what is left of the event files and close them."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _open_writer(self, stage: str) -> SummaryWriter:
        """Return a writer of a new event file, which hides what older ones hold from the first step of this run on."""
        folder = self._folder / stage
        is_new = not folder.exists()
        purge_step = None if is_new else self._first_steps.get(stage)
        suffix = f".{uuid.uuid4().hex[:8]}"
        writer = SummaryWriter(str(folder), purge_step=purge_step, filename_suffix=suffix, flush_secs=_FLUSH_SECONDS)
        self._writers[stage] = writer
        return writer


class TimeLeft:
    """An estimate of the time left of a stage that changes smoothly: by the mean rate of the later half of the run.

    Pauses, such as those of validation and saving, count; the slow first steps are forgotten. `clock` returns seconds.
    """

    def __init__(self, step: int, num_steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._start, self._num_steps, self._clock = step, num_steps, clock
        self._reports = [(step, clock())]

    def update(self, step: int) -> float:
        """Return the seconds left after `step` steps: never negative, 0 at the last step, infinite before the first."""
        self._reports.append((step, self._clock()))
        middle = (self._start + step) / 2
        while len(self._reports) > 2 and self._reports[1][0] <= middle:
            self._reports.pop(0)
        (first, began), (_, now) = self._reports[0], self._reports[-1]
        steps_left = max(self._num_steps - step, 0)
        if not steps_left:
            return 0.0
        return math.inf if step <= first else max(now - began, 0.0) / (step - first) * steps_left


def _is_made_again(line: str, stage: str, step: int) -> bool:
    """Return whether a line is of `stage` after `step`, or is no whole line."""
    try:
        logged = json.loads(line)
        return not line.endswith("\n") or (logged["stage"] == stage and logged["step"] > step)
    except (ValueError, KeyError, TypeError):
        return True


def _finite_or_none(value: Any) -> Any:
    """Return a value of JSON with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: _finite_or_none(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_none(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scalars(progress: Progress) -> dict[str, float]:
    """Return the numbers of a report by tag."""
    scalars = {f"loss/{name}": value for name, value in progress.losses.items()}
    scalars |= {
        "optimiser/grad_norm": progress.grad_norm,
        "optimiser/learning_rate": progress.learning_rate,
        "speed/samples_per_second": progress.samples_per_second,
    }
    validation = (progress.validation or {}).items()
    return scalars | {f"validation/{name}": value for name, value in validation if not isinstance(value, list)}
