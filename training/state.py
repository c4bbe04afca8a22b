"""The saved state of a stage: from it a training continues as if it had never ended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from storage.atomic import replace_file
from training.optimisation import NetworkOptimiser


@dataclass
class StageProgress:
    """How far a stage is: its optimiser steps, and the seconds of all runs that made them."""

    steps: int = 0
    seconds: float = 0.0
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the scaler of the loss, with the precision float16 only."""


def save_state(path: Path, progress: StageProgress, optimisers: Mapping[str, NetworkOptimiser]) -> None:
    """Write weights, averaged weights and moments of each network, and the progress, to one file, whole or not at all.

    Random draws are functions of the step, so that there is no state of a generator to keep.
    """
    tensors = {
        f"{network}/{name}": tensor.detach().cpu().contiguous()
        for network, optimiser in optimisers.items()
        for name, tensor in optimiser.state_tensors()
    }
    metadata = {"steps": progress.steps, "seconds": progress.seconds, "scaler": progress.scaler}
    with replace_file(path) as partial:
        save_file(tensors, partial, metadata={"progress": json.dumps(metadata)})


def read_progress(path: Path) -> StageProgress:
    """Return the progress in a saved state, or none made if there is no such file."""
    if not path.exists():
        return StageProgress()
    with safe_open(path, framework="pt") as file:
        return StageProgress(**json.loads(file.metadata()["progress"]))


def load_state(path: Path, optimisers: Mapping[str, NetworkOptimiser]) -> StageProgress:
    """Restore the state that `save_state` wrote, and return the progress; without a file nothing changes."""
    progress = read_progress(path)
    if progress.steps:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            for network, optimiser in optimisers.items():
                prefix = f"{network}/"
                own = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
                optimiser.load_state_tensors({label: file.get_tensor(name) for label, name in own.items()})
    return progress
