"""`warmcast train`, `evaluate` and `climatology`: from files and options to what they end in."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from diagnostics.report import render_score_page
from diagnostics.spectra import spherical_spectrum
from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from storage.atomic import replace_file, write_text
from training.config import read_config
from training.dataset import WeatherSeries, load_series
from training.evaluation import Evaluation, evaluate, example
from training.loop import Progress
from training.train import train
from weather.bundled import find_checkpoint
from weather.climatology import Climatology, climatology_indices
from weather.errors import TrainingDataError
from weather.manifest import Manifest, read_manifest
from weather.times import count_lead_times, parse_time


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


def evaluate_checkpoint(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[Path],
    years: tuple[int, ...],
    starts: int,
    members: int,
    lead_time: str,
    nfe: int | None,
    solver: str | None,
    warmth: float | None,
    batch_size: int | None,
    seed: int,
    threads: int | None,
    output: Path,
    page: Path | None,
    tell: Callable[[int, int], None],
    announce: Callable[[float], None],
) -> dict[str, Any]:
    """Evaluate a checkpoint, write `output` (JSON) and `page` (HTML), and return what they hold."""
    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks, manifest = load_checkpoint(find_checkpoint(checkpoint, checkpoint_folders), device)
    series = _series_of(manifest, data)
    evaluation = Evaluation(
        years=years or manifest.provenance.validation_years,
        num_starts=starts,
        num_members=members,
        num_lead_times=count_lead_times(lead_time, manifest.model.time_step),
        group_size=batch_size or min(members, 10),
        seed=seed,
    )
    forecaster = Forecaster(networks, manifest.sampling.changed(solver=solver, nfe=nfe, warmth=warmth), device)
    for path in (output, page):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    result = evaluate(forecaster, manifest, series, evaluation, output.with_suffix(".records.jsonl"), tell, announce)
    write_text(output, json.dumps(result, indent=1) + "\n")
    if page is not None:
        shown = example(forecaster, manifest, series, evaluation)
        write_text(page, render_score_page(f"Evaluation of {manifest.name}", result, shown))
    return result


def build_climatology(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[Path],
    years: tuple[int, ...],
    valid_time: str,
    output: Path,
) -> dict[str, Any]:
    """Write states of other years around the date of `valid_time`, and their mean spectra, to `output` (NetCDF).

    Variables and grid are the checkpoint's; the years are those that it was trained on where none are given.
    """
    manifest = read_manifest(find_checkpoint(checkpoint, checkpoint_folders))
    series = _series_of(manifest, data)
    years = years or manifest.provenance.train_years
    chosen = climatology_indices(series.valid_times, parse_time(valid_time, "valid_time"), years)
    variables = manifest.model.variable_names
    climatology = Climatology(variables, series.grid, series.valid_times[chosen], series.frames[chosen])
    dataset = climatology.to_dataset()
    for channel, name in enumerate(variables):
        spectrum = spherical_spectrum(climatology.states[:, channel], series.grid).mean(axis=0)
        told = {"long_name": f"mean power of {name} by total wavenumber", "units": "m2 s-2"}
        dataset[f"{name}_spectrum"] = ("total_wavenumber", spectrum, told)
    with replace_file(output) as partial:
        dataset.to_netcdf(partial)
    return {"climatology": str(output), "states": len(chosen), "years": list(years), "valid_time": valid_time}


def _series_of(manifest: Manifest, data: Sequence[Path]) -> WeatherSeries:
    """Return the weather of `data` in a checkpoint's variables; raises `TrainingDataError` for another grid."""
    spec = manifest.model
    series = load_series(data_files(data), spec.variable_names, spec.time_step_hours)
    if not series.grid.matches(spec.grid.grid):
        raise TrainingDataError(f"`data` is on the grid {series.grid}, but the checkpoint's is {spec.grid.grid}.")
    return series


def data_files(places: Sequence[Path]) -> list[Path]:
    """Return the files and stores that are named, or that lie in the folders that are named, in order of name."""
    files: list[Path] = []
    for place in places:
        if place.is_file() or (place / "zarr.json").exists() or (place / ".zgroup").exists():
            files.append(place)
        elif place.is_dir():
            found = sorted([*place.glob("*.nc"), *place.glob("*.zarr")])
            if not found:
                raise TrainingDataError(f"`{place}` must hold NetCDF files (*.nc) or Zarr stores (*.zarr). Got: none.")
            files += found
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
