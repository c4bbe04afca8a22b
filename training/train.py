"""A whole training: its stages in their order, then the checkpoint."""

import importlib.metadata
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch
from torch import nn

from models.checkpoint import save_checkpoint
from models.networks import Networks, build_networks
from storage.atomic import write_text
from storage.errors import ConfigurationError
from storage.lock import lock_folder
from training.best import BestWeights, selection_score
from training.config import StageName, TrainingConfig
from training.data.checks import check_frames
from training.data.loading import load_training_data
from training.data.training_data import TrainingData
from training.devices import find_device
from training.logs import Progress, RunLog
from training.loop import Stage, StageRun
from training.processes import Processes, join_processes
from training.resuming import CONFIG_COPY, check_output, state_path
from training.specification import specify_model
from training.stages import (
    StageInputs,
    Workplace,
    average_networks,
    build_step,
    check_stages,
    choose_graphs,
    evaluate_warm_start,
    outputs_path,
    record_step,
)
from training.start import Start, load_start
from training.state import read_progress
from training.step import OptimiserStep
from training.stopping import note_termination
from training.validation import Validator
from training.validation_records import Scores
from training.warm_start_outputs import remove_outputs
from weather.errors import TrainingDataError
from weather.grids import gaussian_grid
from weather.manifest import Manifest, Provenance, Selection
from weather.periods import format_periods

_FRAMES = "frames.json"
"""Name of the file that says where the frames are kept while a training runs."""


def train(
    config: TrainingConfig,
    sources: Sequence[str | Path],
    output: Path,
    start: Path | None,
    *,
    resume: bool,
    report: Callable[[Progress], None],
    note: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Train the networks, write `output/checkpoint` and return its manifest.

    The initial weights are those of the checkpoint `start`, or random. `output` also holds the log and the state of
    each stage, from which `resume` continues an interrupted training. If the environment is that of `torchrun`, this is
    one of several processes, which return the same. `note` receives sentences on what is taken from `start`.
    Raises `ConfigurationError` or `TrainingDataError` before anything is computed, also if another process trains here.
    """
    device = find_device(config.device)
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(device))
        stop = stack.enter_context(note_termination())
        if processes.is_first:
            check_output(output, config, resume=resume)
        begun = None if start is None else Start.read(start)
        data = stack.enter_context(load_data(config, sources, begun))
        check_stages(config, data, processes.count, has_start=start is not None)
        validator = Validator(config, data, device)
        work = Workplace(config, data, device, processes, stop, output, choose_graphs(config, device, processes))
        stack.enter_context(_own_folder(output, config, processes, resume=resume))
        _keep_frames(work)
        check_frames(data, (*config.data.train_years, *config.data.validation_years))
        networks = _build_networks(work) if begun is None else _load_start(work, begun, note)
        networks.recompute_blocks(config.recompute)
        return Training(work, networks, begun, validator, report).run()


@contextmanager
def _own_folder(output: Path, config: TrainingConfig, processes: Processes, *, resume: bool) -> Iterator[None]:
    """Hold the lock of the output folder in the first process; the others wait until it is held."""
    if not processes.is_first:
        processes.wait()
        yield
        return
    in_use = ConfigurationError(f"Another process trains in `{output}`. Wait for it, or choose another folder.")
    with lock_folder(output, in_use):
        check_output(output, config, resume=resume)
        processes.wait()
        yield


def _keep_frames(work: Workplace) -> None:
    """Keep the frames in memory where they fit, or as in the earlier runs of a training that is continued.

    The order of samples depends on whether frames are in memory, so that it must not change between runs, nor differ
    between processes.
    """
    data, settings, path = work.data, work.config.data, work.output / _FRAMES
    earlier = json.loads(path.read_text())["place"] if path.exists() else None
    wanted = "stream" if earlier == "stream" else settings.residence
    place = work.processes.from_first(lambda: data.keep(wanted, work.device, settings.memory_bytes))
    if place == "stream" and earlier not in (None, "stream"):
        place = "host"
    data.keep(place, work.device, settings.memory_bytes)
    if work.processes.is_first:
        write_text(path, json.dumps({"place": place}))


class Training:
    """The training of networks in an output folder that this training has locked."""

    def __init__(
        self,
        work: Workplace,
        networks: Networks,
        start: Start | None,
        validator: Validator,
        report: Callable[[Progress], None],
    ) -> None:
        self._work, self._networks, self._start = work, networks, start
        self._validator, self._report = validator, report
        self._log = RunLog(work.output)

    def run(self) -> Manifest:
        """Run all stages, and return the manifest of the checkpoint with the best weights.

        The first process writes it to `checkpoint`, and one with the last weights of the last stage to `final`.
        """
        config, is_first = self._work.config, self._work.processes.is_first
        if is_first:
            write_text(self._work.output / CONFIG_COPY, config.model_dump_json())
        seconds, selections = 0.0, list[Selection]()
        with closing(self._log):
            for name in config.stage_names:
                seconds += self._run_stage(name)
                is_last = name == config.stage_names[-1]
                if is_first and is_last:
                    self._save("final", seconds, selections)
                best = BestWeights(self._best_path(name), name, selection_score(config, name))
                parts: dict[str, nn.Module] = {
                    part: getattr(self._networks, part) for part in config.stage_optimisers(name)
                }
                if (selection := best.restore(parts)) is not None:
                    selections.append(selection)
        return self._work.processes.from_first(lambda: self._save("checkpoint", seconds, selections))

    def _save(self, folder: str, seconds: float, selections: Sequence[Selection]) -> Manifest:
        config, networks = self._work.config, self._networks
        provenance = _provenance(config, seconds, self._start).model_copy(update={"selections": tuple(selections)})
        folder_path = self._work.output / folder
        return save_checkpoint(folder_path, config.name, networks, config.sampling, provenance, config.noise)

    def _best_path(self, stage: StageName) -> Path:
        return self._work.output / f"{stage}.best.safetensors"

    def _run_stage(self, name: StageName) -> float:
        """Train the networks of a stage, leave their averaged weights in `self._networks`, return the seconds spent."""
        work, state = self._work, state_path(self._work.output, name)
        saved = read_progress(state)
        is_done = saved.steps >= next(iter(work.config.stage_optimisers(name).values())).steps
        outputs = evaluate_warm_start(work, self._networks) if name == "flow" and not is_done else None
        step = build_step(work, name, self._networks)
        averaged = average_networks(self._networks, step)
        if work.processes.is_first:
            self._log.truncate(name, saved.steps)
        stage = self._describe_stage(name, step, averaged, StageInputs(work, name, outputs))
        seconds = StageRun(stage, work.processes, work.stop, self._report_progress).run()
        self._networks.warm_start.load_state_dict(averaged.warm_start.state_dict())
        self._networks.flow.load_state_dict(averaged.flow.state_dict())
        if work.processes.is_first and name == "flow":
            remove_outputs(outputs_path(work.output))
        return seconds

    def _describe_stage(self, name: StageName, step: OptimiserStep, averaged: Networks, inputs: StageInputs) -> Stage:
        config = self._work.config
        settings = next(iter(step.optimisers.values())).config
        best = BestWeights(self._best_path(name), name, selection_score(config, name))

        def validate(done: int) -> Scores:
            scores = self._validator.validate(averaged, with_flow=name != "warm_start")
            best.offer(done, scores, {part: optimiser.ema.net for part, optimiser in step.optimisers.items()})
            return scores

        return Stage(
            name=name,
            seed=config.seed,
            num_steps=settings.steps,
            batch_size=settings.batch_size,
            step=step,
            make_step=record_step(self._work, step),
            inputs=inputs.read,
            validate=validate,
            keep_batch=inputs.keep,
            state_path=state_path(self._work.output, name),
            save_every=config.save_every,
            validate_every=config.validation.every or config.save_every,
            report_every=config.report_every,
        )

    def _report_progress(self, progress: Progress) -> None:
        self._log.report(progress)
        self._report(progress)


def load_data(config: TrainingConfig, sources: Sequence[str | Path], start: Start | None = None) -> TrainingData:
    """Return the data of the training and validation years, with the static fields of `start` if it gives them.

    Raises `TrainingDataError` if one of them has no sample, and `ConfigurationError` as `Start.check` does.
    """
    static = None if start is None else start.static_fields(config)
    data = load_training_data(
        sources,
        config.variables,
        time_step_hours=config.time_step_hours,
        context_frames=config.context_frames,
        static_fields=config.static_fields if static is None else (),
        static_source=config.data.static_source,
        features=config.features,
        grid=gaussian_grid(config.data.grid) if config.data.grid else None,
        years=(*config.data.train_years, *config.data.validation_years),
    )
    with ExitStack() as stack:
        stack.enter_context(data)  # closed unless it can be used
        if start is not None:
            start.check(config, data.grid)
        if static is not None:
            data.static = static
        _check_samples(config, data)
        stack.pop_all()
    return data


def _check_samples(config: TrainingConfig, data: TrainingData) -> None:
    """Raise `TrainingDataError` if the training or the validation years have no sample."""
    for field in ("train_years", "validation_years"):
        years = getattr(config.data, field)
        if not len(data.sample_indices(years)):
            raise TrainingDataError(
                f"`data.{field}` {format_periods(years)} have no {config.context_frames + 1} consecutive frames in the "
                "data"
                + (f", which covers {data.valid_times[0]} to {data.valid_times[-1]}." if len(data.valid_times) else ".")
            )


def _build_networks(work: Workplace) -> Networks:
    """Return new networks on the device; the first process computes the statistics of the data, once for all runs."""
    config, data = work.config, work.data
    cache = work.output / "statistics.json"
    scale, extremes = work.processes.from_first(lambda: data.statistics(config.data.train_years, cache))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        networks = build_networks(specify_model(config, data.grid, scale, extremes), torch.from_numpy(data.static))
    return networks.to(work.device)


def _load_start(work: Workplace, start: Start, note: Callable[[str], None]) -> Networks:
    """Return the networks of the checkpoint `start` on the device; statistics are computed once for all runs."""
    if work.processes.is_first:
        for sentence in start.describe(work.config):
            note(sentence)
    cache = work.output / "statistics.json"
    return load_start(start, work.config, work.data, work.device, work.processes.from_first, cache)


def _provenance(config: TrainingConfig, seconds: float, start: Start | None) -> Provenance:
    """Return the provenance of the trained networks; steps and hours include those of the initial checkpoint."""
    earlier = None if start is None else start.manifest.provenance
    steps = {"warm_start": 0, "flow": 0}
    for stage in config.stage_names:
        for part, optimiser in config.stage_optimisers(stage).items():
            steps[part] += optimiser.steps
    return Provenance(
        data=config.data.description,
        attribution=config.data.attribution,
        train_years=config.data.train_years,
        validation_years=config.data.validation_years,
        code_version=importlib.metadata.version("warmcast"),
        warm_start_steps=steps["warm_start"] + (earlier.warm_start_steps if earlier else 0),
        flow_steps=steps["flow"] + (earlier.flow_steps if earlier else 0),
        training_hours=round(seconds / 3600 + (earlier.training_hours if earlier else 0.0), 3),
        started_from=None if start is None else start.provenance,
    )
