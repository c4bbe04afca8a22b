"""`warmcast train`: from files and options to a training, and to the receipt."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from training.config import read_config
from training.loop import Progress
from training.train import train
from weather.bundled import find_checkpoint
from weather.errors import TrainingDataError


def train_from_files(
    *,
    config: Path,
    data: Sequence[Path],
    output: Path,
    start: str | None,
    resume: bool,
    threads: int | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Train and return the receipt; `tell` hears one line a report."""
    if threads:
        torch.set_num_threads(threads)
    manifest = train(
        read_config(config),
        data_files(data),
        output,
        find_checkpoint(start, ()) if start else None,
        resume=resume,
        report=lambda progress: tell(progress_line(progress)),
    )
    return {"checkpoint": str(output / "checkpoint"), "manifest": manifest.model_dump(mode="json")}


def data_files(places: Sequence[Path]) -> list[Path]:
    """Return the files and stores that are named, or that lie in the folders that are named, in order of name."""
    files: list[Path] = []
    for place in places:
        if place.is_file() or (place / "zarr.json").exists() or (place / ".zgroup").exists():
            files.append(place)
        elif place.is_dir():
            files += sorted([*place.glob("*.nc"), *place.glob("*.zarr")])
        else:
            raise TrainingDataError(
                f"`data` must be a file, a Zarr store or a folder of them. Got: `{place}`, not there."
            )
    return files


def progress_line(progress: Progress) -> str:
    """Return one line: stage, step, loss, gradient norm, rate, throughput, time left, validation."""
    left = max(math.ceil(progress.seconds_left), 0)
    held_out = "".join(f"  {name} {value:.4f}" for name, value in (progress.validation or {}).items())
    return (
        f"{progress.stage}  {progress.step}/{progress.steps}  loss {progress.loss:.4f}  |g| {progress.grad_norm:.2f}  "
        f"lr {progress.learning_rate:.1e}  {progress.samples_per_second:.1f} samples/s  "
        f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left{held_out}"
    )
