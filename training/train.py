"""A whole training: h on the data, then p' on the residuals of h, then the checkpoint."""

import importlib.metadata
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from models.checkpoint import load_checkpoint, save_checkpoint
from models.networks import Networks, build_networks
from storage.atomic import write_text
from storage.errors import ConfigurationError
from storage.lock import lock_folder
from training.config import TrainingConfig
from training.dataset import WeatherSeries, grid_spec, load_series
from training.loop import Progress, Stage, run_stage
from training.stages import FlowStage, WarmStartStage
from weather.errors import TrainingDataError
from weather.manifest import Manifest, ModelSpec, Provenance

_CONFIG_COPY = "config.json"


def train(
    config: TrainingConfig,
    files: Sequence[str | Path],
    output: Path,
    start: Path | None,
    *,
    resume: bool,
    report: Callable[[Progress], None],
) -> Manifest:
    """Train both networks, write `output/checkpoint` and return its manifest.

    The initial weights are those of the checkpoint `start`, or random. `output` also holds `progress.jsonl` and the
    state of each stage, from which `resume` continues an interrupted training.
    Raises `ConfigurationError` or `TrainingDataError` before anything is computed, also if another process trains here.
    """
    _check_output(output, config, resume=resume)
    series = load_series(files, config.variables, config.time_step_hours, config.static_fields, config.features)
    _check_years(config, series)
    networks, earlier = _initial_networks(config, series, start)
    in_use = ConfigurationError(f"Another process trains in `{output}`. Wait for it, or choose another folder.")
    with lock_folder(output, in_use):
        _check_output(output, config, resume=resume)
        return _train_networks(config, series, networks, earlier, output, report)


def _train_networks(
    config: TrainingConfig,
    series: WeatherSeries,
    networks: Networks,
    earlier: Provenance | None,
    output: Path,
    report: Callable[[Progress], None],
) -> Manifest:
    """Train both networks in a folder that this process has locked, and return the manifest of the checkpoint."""
    write_text(output / _CONFIG_COPY, config.model_dump_json())
    log = output / "progress.jsonl"

    def log_and_report(progress: Progress) -> None:
        with log.open("a") as lines:
            lines.write(json.dumps(asdict(progress)) + "\n")
        report(progress)

    h = WarmStartStage(config, series, networks)
    h_net, h_seconds = run_stage(_build_stage("warm_start", config, networks, h, output), log_and_report)
    networks.warm_start.load_state_dict(h_net.state_dict())
    networks.warm_start.eval()
    p = FlowStage(config, series, networks)
    p_net, p_seconds = run_stage(_build_stage("flow", config, networks, p, output), log_and_report)
    networks.flow.load_state_dict(p_net.state_dict())
    provenance = _provenance(config, h_seconds + p_seconds, earlier)
    return save_checkpoint(output / "checkpoint", config.name, networks, config.sampling, provenance)


def _check_output(output: Path, config: TrainingConfig, *, resume: bool) -> None:
    """Raise `ConfigurationError` if `output` holds a training, unless `resume` is set and `config` is the same."""
    copy = output / _CONFIG_COPY
    if copy.exists() and not resume:
        raise ConfigurationError(
            f"`{output}` already holds a training. Pass --resume to continue it, or choose another folder."
        )
    if copy.exists() and copy.read_text() != config.model_dump_json():
        raise ConfigurationError(f"`{output}` holds a training of another configuration; choose another folder.")


def _check_years(config: TrainingConfig, series: WeatherSeries) -> None:
    """Raise `TrainingDataError` if the training or validation years have no triple of frames."""
    for field in ("train_years", "validation_years"):
        if not len(series.middle_indices(getattr(config.data, field))):
            raise TrainingDataError(
                f"`data.{field}` {getattr(config.data, field)} have no three consecutive frames in the data, which "
                f"covers {series.valid_times[0]} to {series.valid_times[-1]}."
            )


def _build_stage(
    name: str, config: TrainingConfig, networks: Networks, task: WarmStartStage | FlowStage, output: Path
) -> Stage:
    net = networks.warm_start if name == "warm_start" else networks.flow
    part = config.warm_start if name == "warm_start" else config.flow
    state = output / f"{name}.state.safetensors"
    return Stage(name, net, part.optimiser, task.loss, task.validate, state, config.save_every, config.report_every)


def _initial_networks(
    config: TrainingConfig, series: WeatherSeries, start: Path | None
) -> tuple[Networks, Provenance | None]:
    """Return new networks, or those of the checkpoint `start` with its provenance; extremes are those of this data."""
    scale = series.normalisation(config.variables, config.data.train_years)
    spec = ModelSpec(
        grid=grid_spec(series.grid),
        variables=scale,
        static_fields=config.static_fields,
        features=config.features,
        time_step_hours=config.time_step_hours,
        std_floor=config.std_floor,
        warm_start=config.warm_start.network,
        flow=config.flow.network,
        preconditioning=config.flow.preconditioning,
        extremes=series.extremes(scale, config.data.train_years),
    )
    if start is None:
        torch.manual_seed(config.seed)
        return build_networks(spec, torch.from_numpy(series.static)), None
    networks, manifest = load_checkpoint(start, torch.device("cpu"))
    fields = [field for field in type(spec).model_fields if field != "extremes"]
    different = [field for field in fields if not _is_equal(spec, manifest.model, field)]
    if different:
        raise ConfigurationError(
            f"`{start}` cannot be trained further with this configuration and data: they differ in "
            f"{', '.join(different)}."
        )
    extremes = series.extremes(manifest.model.variables, config.data.train_years)
    return replace(networks, spec=manifest.model.model_copy(update={"extremes": extremes})), manifest.provenance


def _provenance(config: TrainingConfig, seconds: float, earlier: Provenance | None) -> Provenance:
    """Return the provenance of the trained networks; steps and hours include those of the initial checkpoint."""
    return Provenance(
        data=config.data.description,
        attribution=config.data.attribution,
        train_years=config.data.train_years,
        validation_years=config.data.validation_years,
        code_version=importlib.metadata.version("warmcast"),
        warm_start_steps=config.warm_start.optimiser.steps + (earlier.warm_start_steps if earlier else 0),
        flow_steps=config.flow.optimiser.steps + (earlier.flow_steps if earlier else 0),
        training_hours=round(seconds / 3600 + (earlier.training_hours if earlier else 0.0), 3),
    )


def _is_equal(spec: ModelSpec, other: ModelSpec, field: str) -> bool:
    if field == "grid":
        return spec.grid.grid.matches(other.grid.grid)
    if field == "variables":
        return spec.variable_names == other.variable_names
    return bool(getattr(spec, field) == getattr(other, field))
