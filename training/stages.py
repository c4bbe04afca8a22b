"""The stages of a training, built from its configuration: what is trained, on which inputs, by what steps."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from models.execution import Execution
from models.flow import FlowNet
from models.graphs import CudaGraphs, Graphs
from models.networks import Networks
from models.shapes import RowWeights
from models.warm_start import WarmStart
from storage.atomic import replace_file
from storage.errors import ConfigurationError
from training.config import StageName, TrainingConfig
from training.data.batch import Batch
from training.data.loader import Loader
from training.data.order import SampleOrder
from training.data.training_data import TrainingData
from training.draws import FlowDraws, Purpose, draw_for_flow, draw_for_rollout, generator
from training.errors import StoppedError
from training.losses import StageLoss, StepInputs
from training.optimisation import NetworkOptimiser
from training.processes import Processes
from training.recorded_step import RecordedStep
from training.rollout_config import RolloutConfig
from training.rollout_loss import PersistenceErrors, RolloutLoss
from training.step import OptimiserStep
from training.stopping import StopSignal
from training.warm_start_outputs import OutputsOnDevice, OutputsOnDisk, WarmStartEvaluator, WarmStartOutputs

_PERSISTENCE_FRAMES = 2048
"""Frames of the training years from which the errors of persistence are measured, in samples that are evenly spread."""


@dataclass(frozen=True)
class Workplace:
    """What all stages of a training share; `graphs` records whole steps where the device can."""

    config: TrainingConfig
    data: TrainingData
    device: torch.device
    processes: Processes
    stop: StopSignal
    output: Path
    graphs: Graphs | None = None

    @property
    def execution(self) -> Execution:
        """The precision in which networks are evaluated."""
        return Execution(precision=self.config.precision)

    def area_weights(self) -> RowWeights | None:
        """Return the weight of each latitude in the losses, None if all are equal."""
        if not self.config.area_weights:
            return None
        return torch.from_numpy(self.data.grid.area_weights.astype(np.float32))[:, None].to(self.device)


def choose_graphs(config: TrainingConfig, device: torch.device, processes: Processes) -> Graphs | None:
    """Return CUDA graphs where whole steps can be recorded: on one CUDA device, in another precision than float16."""
    can_record = device.type == "cuda" and processes.count == 1 and config.precision != "float16"
    return CudaGraphs(device) if can_record and config.graphs == "auto" else None


def check_stages(config: TrainingConfig, data: TrainingData, num_processes: int, *, has_start: bool = False) -> None:
    """Raise `ConfigurationError` if a stage cannot be trained.

    A batch must be divisible among processes and parts, and no larger than the data. Unless the training starts from a
    checkpoint, a stage must train h.
    """
    if not has_start and not {"warm_start", "both"} & set(config.stages):
        raise ConfigurationError(
            "`stages` must have `warm_start` or `both`, because p' is trained on the outputs of h, unless the training "
            f"starts from a checkpoint. Got: {', '.join(config.stages)}."
        )
    for stage in config.stage_names:
        optimiser = next(iter(config.stage_optimisers(stage).values()))
        rollout = config.rollout(stage)
        followed = data if rollout is None else data.followed_by(rollout.num_steps - 1)
        num_samples = len(followed.sample_indices(config.data.train_years))
        divisor = num_processes * optimiser.accumulation
        if optimiser.batch_size % divisor:
            raise ConfigurationError(
                f"The `batch_size` of the stage `{stage}` must be a multiple of `processes` × `accumulation`. Got: "
                f"{optimiser.batch_size}, {num_processes} and {optimiser.accumulation}."
            )
        if optimiser.steps and optimiser.batch_size > num_samples:
            raise ConfigurationError(
                f"The `batch_size` of the stage `{stage}` must be at most the number of samples in `data.train_years`, "
                f"{num_samples}. Got: {optimiser.batch_size}."
            )


def _stage_data(work: Workplace, name: StageName) -> TrainingData:
    """Return the data with samples of as many time steps as the stage's forecasts."""
    rollout = work.config.rollout(name)
    return work.data if rollout is None else work.data.followed_by(rollout.num_steps - 1)


class StageInputs:
    """The inputs of the steps of a stage: frames of each step's samples, random draws, and known outputs of h."""

    def __init__(self, work: Workplace, name: StageName, outputs: WarmStartOutputs | None) -> None:
        self._work, self._name, self._outputs = work, name, outputs
        config = work.config
        self._batch_size = next(iter(config.stage_optimisers(name).values())).batch_size
        self._rollout = config.rollout(name)
        self._data = _stage_data(work, name)
        memory = config.data.memory_bytes
        self._order = SampleOrder(self._data, config.data.train_years, self._batch_size, config.seed, memory)

    @contextmanager
    def read(self, steps: range) -> Iterator[Iterable[StepInputs]]:
        """Yield the inputs of `steps` for this process, read ahead."""
        work = self._work
        with Loader(self._data, self._own_indices, steps, work.device, work.config.data.memory_bytes) as loader:
            yield (self._assemble(step, batch, self._share) for step, batch in zip(steps, loader, strict=True))

    def keep(self, step: int) -> Path:
        """Write the whole batch of a step, with indices, valid times and draws, to a file, and return its path."""
        indices = self._order.indices(step)
        batch = self._data.batch(indices, self._work.device)
        inputs = self._assemble(step, batch, slice(None))
        path = self._work.output / f"{self._name}.not-finite-{step + 1}.safetensors"
        times = np.datetime_as_string(self._work.data.valid_times[indices]).tolist()
        about = {"stage": self._name, "step": step + 1, "indices": indices.tolist(), "valid_times": times}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in inputs.tensors().items()}
        with replace_file(path) as partial:
            save_file(tensors, partial, metadata={"batch": json.dumps(about)})
        return path

    @property
    def _share(self) -> slice:
        return self._work.processes.share(self._batch_size)

    def _own_indices(self, step: int) -> NDArray[np.int64]:
        return self._order.indices(step)[self._share]

    def _assemble(self, step: int, batch: Batch, share: slice) -> StepInputs:
        if self._rollout is not None:
            noise, frame_noise = self._draw_rollout(step, share, self._rollout)
            return replace(StepInputs.of(batch, None, None), noise=noise, frame_noise=frame_noise)
        outputs = self._outputs and self._outputs(self._order.indices(step)[share])
        return StepInputs.of(batch, self._draw(step, share), outputs or None)

    def _draw(self, step: int, share: slice) -> FlowDraws | None:
        if self._name == "warm_start":
            return None
        config = self._work.config
        draws = generator(config.seed, Purpose.FLOW, step, self._work.device)
        return draw_for_flow(self._batch_shape, draws, config.flow.full_warmth_fraction, share)

    def _draw_rollout(self, step: int, share: slice, rollout: RolloutConfig) -> tuple[Tensor, Tensor | None]:
        draws = generator(self._work.config.seed, Purpose.ROLLOUT, step, self._work.device)
        frames = self._data.context_frames if rollout.input_noise else 0
        noise, frame_noise = draw_for_rollout(
            self._batch_shape, rollout.members, rollout.time_steps, frames, draws, share
        )
        return noise, frame_noise if frames else None

    @property
    def _batch_shape(self) -> tuple[int, int, int, int]:
        lat, lon = self._data.grid.shape
        return self._batch_size, len(self._data.variables), lat, lon


def build_step(work: Workplace, name: StageName, networks: Networks) -> OptimiserStep:
    """Return the optimiser step of a stage, which trains its part of `networks`; the other part is fixed."""
    config = work.config
    modules: Mapping[str, nn.Module] = {"warm_start": networks.warm_start, "flow": networks.flow}
    for module in modules.values():
        module.requires_grad_(requires_grad=False).eval()
    settings = config.stage_optimisers(name)
    optimisers: dict[str, NetworkOptimiser] = {
        part: NetworkOptimiser(modules[part], settings[part]) for part in settings
    }
    loss, weights = _build_rollout_loss(work, name, networks) or _build_loss(work, name, networks)
    loss = work.processes.average_gradients(loss)
    parts = next(iter(settings.values())).accumulation
    return OptimiserStep(loss, optimisers, weights, work.execution, parts=parts)


def _build_loss(work: Workplace, name: StageName, networks: Networks) -> tuple[nn.Module, dict[str, float]]:
    """Return the losses of each network, compiled if the configuration says so, and their weights."""
    config = work.config
    stage = next(stage for stage in config.stages if stage == name)
    end_to_end = stage == "both" and config.both is not None and config.both.end_to_end
    loss: nn.Module = StageLoss(networks, stage, area_weights=work.area_weights(), end_to_end=end_to_end)
    if config.compile == "default":
        loss = cast("nn.Module", torch.compile(loss, dynamic=False))
    weights = {"nll": 1.0} if stage != "flow" else {}
    if end_to_end and config.both is not None:
        weights["nll"] = config.both.nll_weight
    if stage != "warm_start":
        weights["flow_loss"] = 1.0
    return loss, weights


def _build_rollout_loss(
    work: Workplace, name: StageName, networks: Networks
) -> tuple[nn.Module, dict[str, float]] | None:
    """Return the losses of forecasts, with compiled networks if the configuration says so, and their weights."""
    config = work.config
    if (rollout := config.rollout(name)) is None:
        return None
    errors = _measure_persistence(work, name, networks)
    loss = RolloutLoss(networks, rollout, config.sampling, config.noise, errors, area_weights=work.area_weights()).to(
        work.device
    )
    if config.compile == "default":
        loss.compile_networks()
    return loss, loss.loss_weights


def _measure_persistence(work: Workplace, name: StageName, networks: Networks) -> PersistenceErrors:
    """Return the errors of persistence at each lead time of a stage's forecasts, over samples of the training years."""
    data = _stage_data(work, name)
    samples = data.sample_indices(work.config.data.train_years)
    count = min(max(_PERSISTENCE_FRAMES // data.frames_per_sample, 1), len(samples))
    batch = data.batch(samples[np.linspace(0, len(samples) - 1, count).round().astype(int)], work.device)
    normalise = networks.context.normalise
    targets = [normalise(target) for target in (batch.target, *(step.target for step in batch.following))]
    return PersistenceErrors.of(normalise(batch.frames[0]), targets, data.grid)


def record_step(work: Workplace, step: OptimiserStep) -> OptimiserStep | RecordedStep:
    """Return the step as it is made: recorded if the workplace has graphs."""
    return step if work.graphs is None else RecordedStep(step, work.graphs)


def average_networks(networks: Networks, step: OptimiserStep) -> Networks:
    """Return the networks with averaged weights where `step` trains them, in evaluation mode."""
    averages = {part: optimiser.ema.net for part, optimiser in step.optimisers.items()}
    return replace(
        networks,
        warm_start=cast("WarmStart", averages.get("warm_start", networks.warm_start)),
        flow=cast("FlowNet", averages.get("flow", networks.flow)),
    )


def outputs_path(output: Path) -> Path:
    """Return the file with the outputs of the fixed h in the folder of a training."""
    return output / "warm_start.outputs"


def evaluate_warm_start(work: Workplace, networks: Networks) -> WarmStartOutputs | None:
    """Return the outputs of the fixed h for all training samples, None if it is to be evaluated in each step."""

    def check() -> None:
        if work.stop.is_set:
            raise StoppedError(
                "The training got the signal to end while the warm start was evaluated for the stage `flow`. To "
                "continue, repeat the command with --resume."
            )

    samples = work.data.sample_indices(work.config.data.train_years)
    memory = work.config.data.memory_bytes
    evaluator = WarmStartEvaluator(networks, work.data, samples, work.device, work.execution, memory, check)
    place = work.processes.from_first(lambda: evaluator.choose_place(work.config.flow.warm_start_outputs, work.output))
    if place == "device":
        return OutputsOnDevice(evaluator, work.processes)
    if place == "disk":
        return OutputsOnDisk(evaluator, work.processes, outputs_path(work.output))
    return None
