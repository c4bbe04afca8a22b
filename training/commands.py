"""The commands `warmcast train`, `climatology` and `extremes`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diagnostics.scores.spectra import spherical_spectrum
from storage.atomic import replace_file, write_text
from storage.errors import ConfigurationError
from training.config import TrainingConfig, find_config, read_config
from training.data.sources import list_data_files, load_data_for
from training.dry_run import Prices, estimate_training
from training.launch import start_other_processes
from training.logs import Progress
from training.resuming import check_output
from training.train import train
from weather.bundled import find_checkpoint
from weather.climatology import WINDOW_DAYS, Climatology, climatology_indices
from weather.manifest import MANIFEST_NAME, Manifest, read_manifest
from weather.periods import Period, read_periods
from weather.times import parse_time


def train_from_files(
    *,
    config: Path,
    data: Sequence[str | Path],
    output: Path | None,
    start: str | None,
    checkpoint_folders: Sequence[Path] = (),
    resume: bool,
    device: str | None,
    processes: int | None,
    threads: int | None,
    prices: Mapping[str, Any] | None,
    report: Callable[[Mapping[str, Any]], None],
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train on files, write `output/checkpoint` and return a receipt; `report` receives the fields of `Progress`.

    `note` receives sentences on the checkpoint that it starts from. `device` and `processes` replace those of the
    configuration. With `prices`, the fields of `Prices`, the training is only tried and estimated. Raises
    `ConfigurationError` without `output`, unless there are `prices`.
    """
    settings = read_config(find_config(config), device=device, processes=processes)
    sources, folder = list_data_files(data), find_checkpoint(start, checkpoint_folders) if start else None
    if prices is not None:
        if output is not None:
            check_output(output, settings, resume=resume)
        torch.set_num_threads(threads or torch.get_num_threads())
        return estimate_training(settings, sources, folder, Prices(**prices))
    if output is None:
        raise ConfigurationError("Name the folder to write to with --output, or pass --dry-run.")
    work = partial(_train, settings, sources, output, folder, resume=resume, threads=threads)
    with start_other_processes(settings.processes, work):
        manifest = work(report=lambda progress: report(asdict(progress)), note=note)
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
    note: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Train in one of the processes; `threads` is by default that of PyTorch, divided among the processes."""
    torch.set_num_threads(threads or max(torch.get_num_threads() // config.processes, 1))
    return train(config, sources, output, start, resume=resume, report=report, note=note)


def build_climatology(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[str | Path],
    years: Sequence[Period | str],
    valid_time: str,
    pooled: bool,
    output: Path,
) -> dict[str, Any]:
    """Write states of `years` around the date of `valid_time`, and their mean spectra, to `output` (NetCDF).

    Variables and grid are the checkpoint's. Without `years`, its training years are used. `pooled` states are of all
    dates of the years.
    """
    manifest = read_manifest(find_checkpoint(checkpoint, checkpoint_folders))
    periods = read_periods(years, "years") or manifest.provenance.train_years
    window, time = None if pooled else WINDOW_DAYS, parse_time(valid_time, "valid_time")
    with load_data_for(manifest.model, data) as record:
        indices = climatology_indices(record.valid_times, time, periods, window_days=window)
        variables = manifest.model.variable_names
        climatology = Climatology(variables, record.grid, record.valid_times[indices], record.frames(indices))
    dataset = climatology.to_dataset()
    for channel, name in enumerate(variables):
        spectrum = spherical_spectrum(climatology.states[:, channel], record.grid).mean(axis=0)
        attributes = {"long_name": f"mean power of {name} by total wavenumber", "units": "m2 s-2"}
        dataset[f"{name}_spectrum"] = ("total_wavenumber", spectrum, attributes)
    with replace_file(output) as partial:
        dataset.to_netcdf(partial)
    receipt = {"climatology": str(output), "states": len(indices), "years": list(periods), "valid_time": valid_time}
    return receipt | {"kind": "pooled" if pooled else "seasonal"}


def add_extremes(*, checkpoint: str, checkpoint_folders: Sequence[Path], data: Sequence[str | Path]) -> dict[str, Any]:
    """Compute the extremes of a checkpoint's training years from `data`, and write them to its manifest.

    The digest of the checkpoint changes, so that unfinished forecasts of it cannot be continued.
    """
    folder = find_checkpoint(checkpoint, checkpoint_folders)
    manifest = read_manifest(folder)
    with load_data_for(manifest.model, data) as record:
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
