"""`warmcast checkpoint verify` and `export`: whether a checkpoint is whole, and can forecast on this machine."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from models.networks import Networks
from models.noise import ForecastNoise
from models.rollout import rollout
from models.shapes import Fields
from weather.bundled import find_checkpoint
from weather.checkpoint_archive import export_files
from weather.checkpoint_files import find_file_problems
from weather.errors import CheckpointError
from weather.manifest import MANIFEST_NAME, NFE_PER_STEP, Manifest, ModelSpec, read_manifest

_CPU = torch.device("cpu")
_INIT_TIME = np.datetime64("2000-01-01T00", "s")
_NO_EXTREMES = (
    "the manifest has no extremes of the training years, so initial states are hardly checked. Add them: "
    "warmcast checkpoint extremes CHECKPOINT --data DATA."
)


@dataclass(frozen=True)
class Check:
    """One thing that is checked of a checkpoint, what was found, and each problem as a sentence."""

    name: str
    found: str
    problems: tuple[str, ...] = ()
    is_damage: bool = True
    """Whether a problem means that the checkpoint cannot be used."""


def verify_checkpoint(*, checkpoint: str, checkpoint_folders: Sequence[Path]) -> dict[str, Any]:
    """Return the checks of a checkpoint by its name or folder, and `is_well`: whether none has a problem."""
    folder = find_checkpoint(checkpoint, checkpoint_folders)
    checks = list(check_checkpoint(folder))
    return {
        "checkpoint": str(folder),
        "is_well": not any(check.problems for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def export_checkpoint(
    *, checkpoint: str, checkpoint_folders: Sequence[Path], output: Path, license_file: Path | None
) -> dict[str, Any]:
    """Write a checkpoint with its card and licence to `output`, a folder or a `.zip`, and return a receipt.

    Raises `CheckpointError` that names each problem of a checkpoint that is damaged or cannot forecast.
    """
    folder = find_checkpoint(checkpoint, checkpoint_folders)
    problems = [problem for check in check_checkpoint(folder) if check.is_damage for problem in check.problems]
    if problems:
        raise CheckpointError(f"`{folder}` cannot be exported: " + " ".join(problems))
    return export_files(folder, output, license_file)


def check_checkpoint(folder: Path) -> Iterator[Check]:
    """Yield the checks of the checkpoint in `folder`: manifest, files, tensors, extremes and one step of a forecast.

    A check that needs what another has found damaged is left out.
    """
    try:
        manifest = read_manifest(folder)
    except CheckpointError as error:
        yield Check("manifest", MANIFEST_NAME, (str(error),))
        return
    yield Check("manifest", f"{manifest.name}, SHA-256 {manifest.digest}")
    files = Check("files", f"{len(manifest.files)} weight files, SHA-256", _file_problems(folder, manifest))
    yield files
    yield _check_extremes(manifest)
    if files.problems:
        return
    try:
        networks, _ = load_checkpoint(folder, _CPU)
    except CheckpointError as error:
        yield Check("tensors", "architecture", (str(error),))
        return
    tensors = _check_tensors(networks)
    yield tensors
    if not tensors.problems:
        yield _check_forecast(networks, manifest)


def _file_problems(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    return tuple(problem for _, problem in find_file_problems(folder, manifest))


def _check_extremes(manifest: Manifest) -> Check:
    extremes = manifest.model.extremes
    if extremes is None:
        return Check("extremes", "none", (f"`{MANIFEST_NAME}`: {_NO_EXTREMES}",), is_damage=False)
    return Check("extremes", f"of {extremes.num_frames} frames")


def _check_tensors(networks: Networks) -> Check:
    """Check that all weights and static fields are finite."""
    names = [f"static.{name}" for name in networks.spec.static_fields]
    tensors = dict(zip(names, networks.context.static, strict=True))
    for prefix, net in (("warm_start", networks.warm_start), ("flow", networks.flow)):
        tensors |= {f"{prefix}.{name}": weight for name, weight in net.state_dict().items()}
    wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    problems = tuple(f"The tensor `{name}` must be finite. Got: NaN or infinite values." for name in wrong)
    return Check("tensors", f"{len(tensors)} tensors fit the manifest", problems)


def _check_forecast(networks: Networks, manifest: Manifest) -> Check:
    """Check that a time step from smooth fields is finite, within the valid range, and the same when it is repeated.

    The solver makes a single step, so that large networks take seconds.
    """
    sampling = manifest.sampling.replace(nfe=NFE_PER_STEP[manifest.sampling.solver])
    forecaster = Forecaster(networks, sampling, _CPU)
    frames = (_smooth_state(manifest.model),) * manifest.model.context_frames
    noise = ForecastNoise.of(manifest.model, manifest.noise, seed=0, init_time=_INIT_TIME)
    first, second = (next(rollout(forecaster, frames, noise.draw([0]), init_time=_INIT_TIME)) for _ in range(2))
    if not torch.isfinite(first).all():
        problem = "One time step from smooth fields must be finite and within the valid range. Got: a lost member."
        return Check("forecast", "one time step", (problem,))
    if not torch.equal(first, second):
        difference = (first - second).abs().max().item()
        problem = f"The same time step must have the same values twice. Got: a difference of {difference:g}."
        return Check("forecast", "one time step", (problem,))
    return Check("forecast", f"one time step on the {manifest.model.grid.grid} grid, finite and reproducible")


def _smooth_state(spec: ModelSpec) -> Fields:
    """Return a frame (1, variable, lat, lon) in physical units: the mean, and a wave of one standard deviation."""
    grid = spec.grid.grid
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)[None]
    wave = torch.from_numpy(np.cos(lat) * np.sin(3 * lon))
    return torch.stack([variable.mean + variable.std * wave for variable in spec.variables])[None].float()
