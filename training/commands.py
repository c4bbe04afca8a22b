"""The commands `warmcast train`, `evaluate`, `climatology` and `extremes`."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diagnostics.evaluation.report import render_score_page
from diagnostics.scores.spectra import spherical_spectrum
from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from storage.atomic import replace_file, write_text
from storage.errors import ConfigurationError
from storage.lock import claim_output
from training.config import TrainingConfig, find_config, read_config
from training.data.loading import load_training_data
from training.data.training_data import TrainingData
from training.dry_run import Prices, estimate_training
from training.evaluation import Evaluation, Evaluator
from training.launch import start_other_processes
from training.logs import Progress
from training.resuming import check_output
from training.train import train
from weather.bundled import find_checkpoint
from weather.climatology import Climatology, climatology_indices
from weather.errors import TrainingDataError
from weather.manifest import MANIFEST_NAME, Manifest, read_manifest
from weather.periods import Period, read_periods
from weather.times import count_lead_times, parse_time

_SUFFIXES = (".nc", ".nc4", ".grib", ".grb", ".grib1", ".grib2", ".grb2", ".zarr", ".zip", ".gz", ".bz2")
"""Ends of the names of files in a folder that are data."""


def train_from_files(
    *,
    config: Path,
    data: Sequence[str | Path],
    output: Path | None,
    start: str | None,
    resume: bool,
    device: str | None,
    processes: int | None,
    threads: int | None,
    prices: Mapping[str, Any] | None,
    report: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Train on files, write `output/checkpoint` and return a receipt; `report` receives the fields of `Progress`.

    `device` and `processes` replace those of the configuration. With `prices`, the fields of `Prices`, the training is
    only tried and estimated. Raises `ConfigurationError` without `output`, unless there are `prices`.
    """
    settings = read_config(find_config(config), device=device, processes=processes)
    sources, folder = list_data_files(data), find_checkpoint(start, ()) if start else None
    if prices is not None:
        if output is not None:
            check_output(output, settings, resume=resume)
        torch.set_num_threads(threads or torch.get_num_threads())
        return estimate_training(settings, sources, folder, Prices(**prices))
    if output is None:
        raise ConfigurationError("Name the folder to write to with --output, or pass --dry-run.")
    work = partial(_train, settings, sources, output, folder, resume=resume, threads=threads)
    with start_other_processes(settings.processes, work):
        manifest = work(report=lambda progress: report(asdict(progress)))
    return {"checkpoint": str(output / "checkpoint"), "manifest": manifest.model_dump(mode="json")}


def _train(
    config: TrainingConfig,
    sources: Sequence[str | Path],
    output: Path,
    start: Path | None,
    *,
    resume: bool,
    threads: int | None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Manifest:
    """Train in one of the processes; `threads` is by default that of PyTorch, divided among the processes."""
    torch.set_num_threads(threads or max(torch.get_num_threads() // config.processes, 1))
    return train(config, sources, output, start, resume=resume, report=report)


def evaluate_checkpoint(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[str | Path],
    years: Sequence[Period | str],
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
    report_progress: Callable[[int, int], None],
    report_duration: Callable[[float], None],
) -> dict[str, Any]:
    """Evaluate a checkpoint, write the scores to `output` (JSON) and a report to `page` (HTML), and return the scores.

    The last two arguments are those of `Evaluator.run`. Raises `ConfigurationError` if another process uses `output`.
    """
    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks, manifest = load_checkpoint(find_checkpoint(checkpoint, checkpoint_folders), device)
    truth = _load_data(manifest, data)
    truth.keep("auto", torch.device("cpu"))
    evaluation = Evaluation(
        years=read_periods(years, "years") or manifest.provenance.validation_years,
        num_starts=starts,
        num_members=members,
        num_lead_times=count_lead_times(lead_time, manifest.model.time_step),
        group_size=batch_size or min(members, 10),
        seed=seed,
    )
    forecaster = Forecaster(networks, manifest.sampling.replace(solver=solver, nfe=nfe, warmth=warmth), device)
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
    evaluator = Evaluator(forecaster, manifest, truth, evaluation)
    in_use = ConfigurationError(f"Another evaluation writes `{output}`. Wait for it, or choose another --output.")
    records = output.with_suffix(".records.jsonl")
    with claim_output(records, in_use):
        result = evaluator.run(records, report_progress, report_duration)
        write_text(output, json.dumps(result, indent=1) + "\n")
    if page is not None:
        write_text(page, render_score_page(f"Evaluation of {manifest.name}", result, evaluator.compute_example()))
    return result


def build_climatology(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[str | Path],
    years: Sequence[Period | str],
    valid_time: str,
    output: Path,
) -> dict[str, Any]:
    """Write states of `years` around the date of `valid_time`, and their mean spectra, to `output` (NetCDF).

    Variables and grid are the checkpoint's. Without `years`, its training years are used.
    """
    manifest = read_manifest(find_checkpoint(checkpoint, checkpoint_folders))
    record = _load_data(manifest, data)
    periods = read_periods(years, "years") or manifest.provenance.train_years
    indices = climatology_indices(record.valid_times, parse_time(valid_time, "valid_time"), periods)
    variables = manifest.model.variable_names
    climatology = Climatology(variables, record.grid, record.valid_times[indices], record.frames(indices))
    dataset = climatology.to_dataset()
    for channel, name in enumerate(variables):
        spectrum = spherical_spectrum(climatology.states[:, channel], record.grid).mean(axis=0)
        attributes = {"long_name": f"mean power of {name} by total wavenumber", "units": "m2 s-2"}
        dataset[f"{name}_spectrum"] = ("total_wavenumber", spectrum, attributes)
    with replace_file(output) as partial:
        dataset.to_netcdf(partial)
    return {"climatology": str(output), "states": len(indices), "years": list(periods), "valid_time": valid_time}


def add_extremes(*, checkpoint: str, checkpoint_folders: Sequence[Path], data: Sequence[str | Path]) -> dict[str, Any]:
    """Compute the extremes of a checkpoint's training years from `data`, and write them to its manifest.

    The digest of the checkpoint changes, so that unfinished forecasts of it cannot be continued.
    """
    folder = find_checkpoint(checkpoint, checkpoint_folders)
    manifest = read_manifest(folder)
    record = _load_data(manifest, data)
    extremes = record.extremes(manifest.model.variables, manifest.provenance.train_years)
    changed = manifest.model_copy(update={"model": manifest.model.model_copy(update={"extremes": extremes})})
    write_text(folder / MANIFEST_NAME, changed.to_json())
    return {
        "checkpoint": str(folder),
        "frames": extremes.num_frames,
        "years": list(manifest.provenance.train_years),
        "extremes": extremes.model_dump(mode="json"),
        "digest": changed.digest,
    }


def _load_data(manifest: Manifest, data: Sequence[str | Path]) -> TrainingData:
    """Return the frames of the files, folders and addresses in `data`, with a checkpoint's variables.

    Frames on another grid are regridded to the checkpoint's, as initial states are. Raises `TrainingDataError` if they
    cannot be read or lack a variable.
    """
    spec = manifest.model
    return load_training_data(
        list_data_files(data),
        spec.variable_names,
        time_step_hours=spec.time_step_hours,
        context_frames=spec.context_frames,
        grid=spec.grid.grid,
    )


def list_data_files(sources: Sequence[str | Path]) -> list[str]:
    """Return the files, Zarr stores and addresses among `sources`, and the files in the folders among them, by name."""
    files: list[str] = []
    for source in map(str, sources):
        path = Path(source)
        if "://" in source or path.is_file() or (path / "zarr.json").exists() or (path / ".zgroup").exists():
            files.append(source)
        elif path.is_dir():
            found = sorted(str(file) for file in path.iterdir() if file.name.lower().endswith(_SUFFIXES))
            if not found:
                raise TrainingDataError(
                    f"`{source}` must hold files or Zarr stores whose names end with {', '.join(_SUFFIXES)}. Got: none."
                )
            files += found
        else:
            raise TrainingDataError(
                "`data` must be a file, a Zarr store, a folder of them, or an address. "
                f"Got: `{source}`, which does not exist."
            )
    return files
