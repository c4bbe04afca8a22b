"""`warmcast train --dry-run`: build everything, make one step of each stage, and estimate what the training needs."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.networks import Networks, build_networks
from storage.errors import ConfigurationError
from training.config import StageName, TrainingConfig
from training.cost import DEFAULT_SHARE, FORMULAS, GPUS, Gpu, estimate_memory, estimate_seconds
from training.data.training_data import DEVICE_SHARE, TrainingData
from training.devices import find_device
from training.losses import StepInputs
from training.optimiser_config import StepsConfig
from training.processes import Processes
from training.specification import specify_model
from training.stages import StageInputs, Workplace, build_step, check_stages
from training.start import Start
from training.step_counters import StepCounts, count_step, time_step
from training.stopping import StopSignal
from training.train import load_data
from training.validation import Validator
from training.warm_start_outputs import OUTPUTS_SHARE

_HOUR = 3600.0
_TIMED_STEPS = 10
"""Further steps on a GPU, which are timed."""


@dataclass(frozen=True)
class Prices:
    """The GPU of `GPUS` that a training is to run on, the share of its speed that steps reach, its price an hour."""

    gpu: str = "h100"
    share: float = DEFAULT_SHARE
    per_hour: float = 3.0

    @property
    def spec(self) -> Gpu:
        """The GPU; raises `ConfigurationError` if there is none of its name."""
        if self.gpu not in GPUS:
            raise ConfigurationError(f"--gpu must be one of {', '.join(GPUS)}. Got: {self.gpu!r}.")
        return GPUS[self.gpu]


def estimate_training(
    config: TrainingConfig, sources: Sequence[str | Path], start: Path | None, prices: Prices
) -> dict[str, Any]:
    """Make one step of each stage at full size and return what was measured and estimated; nothing is written.

    A step has the samples that one process takes at once; on a GPU ten more are made and timed. Of the checkpoint
    `start` only manifest and static fields are read. Raises `CheckpointError`, `ConfigurationError` or
    `TrainingDataError` as `train` does.
    """
    gpu, device, precision = prices.spec, find_device(config.device), config.precision
    if device.type == "cpu" and precision == "float16":  # whose tensors have the same sizes, and which CPUs compute
        config = config.model_copy(update={"precision": "bfloat16"})
    begun = None if start is None else Start.read(start)
    with load_data(config, sources, begun) as data:
        check_stages(config, data, config.processes, has_start=start is not None)
        Validator(config, data, device)
        networks = _build_networks(config, data).to(device).recompute_blocks(config.recompute)
        stages = [_Trial(config, data, networks, device, name).run(prices) for name in config.stage_names]
        samples = {use: getattr(config.data, f"{use}_years") for use in ("train", "validation")}
        return {
            "config": config.name,
            "device": str(device),
            "precision": precision,
            "processes": config.processes,
            "grid": str(data.grid),
            "samples": {use: len(data.sample_indices(years)) for use, years in samples.items()},
            "parameters": {"warm_start": _count(networks.warm_start), "flow": _count(networks.flow)},
            "stages": stages,
            "gpu": {"name": prices.gpu, "share": prices.share, "price_per_hour": prices.per_hour}
            | {"peak_flops": gpu.peak_flops(config.precision)}
            | {"bytes_per_second": gpu.bytes_per_second, "memory_bytes": gpu.memory_bytes},
            "total": _sum_up(stages, config.processes, prices),
            "formulas": [" ".join(paragraph.split()) for paragraph in FORMULAS.split("\n\n")],
        }


class _Trial:
    """One step of a stage, with the samples that one of its processes takes at once."""

    def __init__(
        self, config: TrainingConfig, data: TrainingData, networks: Networks, device: torch.device, name: StageName
    ) -> None:
        self._config, self._data, self._networks, self._device, self._name = config, data, networks, device, name
        self._steps: StepsConfig = next(iter(config.stage_optimisers(name).values()))
        self._size = self._steps.batch_size // config.processes // self._steps.accumulation

    def run(self, prices: Prices) -> dict[str, Any]:
        """Make the step, and return what it took and what the stage needs."""
        small = _resize_batches(self._config, self._size)
        work = Workplace(small, self._data, self._device, Processes(), StopSignal(), Path())
        step = build_step(work, self._name, self._networks)
        step.prepare(0)
        inputs = self._read_inputs(work)
        owned = [*self._networks.warm_start.parameters(), *self._networks.flow.parameters(), *inputs.tensors().values()]
        counts = count_step(lambda: step(inputs), owned, self._device)
        if self._device.type == "cuda":  # where the first step takes longer than others, and counting most of it
            counts = replace(counts, seconds=time_step(lambda: step(inputs), _TIMED_STEPS, self._device))
        losses = step.sums.read(1)
        if not all(map(math.isfinite, losses.values())):
            raise ConfigurationError(f"The first step of the stage `{self._name}` is not finite: {losses}.")
        return self._describe(counts, losses, prices)

    def _read_inputs(self, work: Workplace) -> StepInputs:
        """Return the inputs of the first step, with outputs of h if they will be known."""
        with StageInputs(work, self._name, None).read(range(1)) as batches:
            inputs = next(iter(batches))
        if not self._outputs_bytes():
            return inputs
        with torch.no_grad(), work.execution.autocast(self._device):
            context = self._networks.context(inputs.frames, inputs.features)
            mean, std = self._networks.warm_start.eval()(context)
        return replace(inputs, mean=mean.float(), std=std.float())

    def _describe(self, counts: StepCounts, losses: dict[str, float], prices: Prices) -> dict[str, Any]:
        steps, gpu, size = self._steps, prices.spec, self._size
        counted = asdict(counts)
        seconds = estimate_seconds(counts, gpu, self._config.precision, prices.share) * steps.accumulation
        modules = {"warm_start": self._networks.warm_start, "flow": self._networks.flow}
        trained = sum(_count(modules[part]) for part in self._config.stage_optimisers(self._name))
        memory = estimate_memory(
            counts,
            all_weights=sum(map(_count, modules.values())),
            trained_weights=trained,
            outputs_bytes=self._on_gpu(self._outputs_bytes(), self._config.flow.warm_start_outputs, OUTPUTS_SHARE, gpu),
            record_bytes=self._on_gpu(self._record_bytes(), self._config.data.residence, DEVICE_SHARE, gpu),
        )
        return {
            "stage": self._name,
            "steps": steps.steps,
            "batch_size": steps.batch_size,
            "samples_at_once": size,
            "losses": losses,
            "per_sample": {name: value / size for name, value in counted.items()},
            "memory": asdict(memory) | {"total": memory.total},
            "measured_samples_per_second": size / counts.seconds,
            "measured_hours": steps.steps * steps.batch_size / size * counts.seconds / _HOUR,
            "gpu_samples_per_second": steps.batch_size / seconds,
            "gpu_hours": steps.steps * seconds / _HOUR,
        }

    def _outputs_bytes(self) -> int:
        """Return the size of the known outputs of h for all training samples, 0 if the stage has none."""
        if self._name != "flow" or self._config.flow.warm_start_outputs == "none":
            return 0
        samples = len(self._data.sample_indices(self._config.data.train_years))
        return samples * 2 * len(self._config.variables) * int(np.prod(self._data.grid.shape)) * 4

    def _record_bytes(self) -> int:
        return len(self._data.valid_times) * self._data.frame_bytes

    def _on_gpu(self, size: int, place: str, share: float, gpu: Gpu) -> int:
        """Return `size` if what has it will be in the memory of the GPU, else 0; `auto` lets it have a share of it."""
        return size if place == "device" or (place == "auto" and size <= share * gpu.memory_bytes) else 0


def _build_networks(config: TrainingConfig, data: TrainingData) -> Networks:
    """Return new networks, for the statistics of the first training year or period: those of all could take hours."""
    first = next(year for year in config.data.train_years if len(data.sample_indices([year])))
    scale, _ = data.statistics([first])
    return build_networks(specify_model(config, data.grid, scale, None), torch.from_numpy(data.static))


def _resize_batches(config: TrainingConfig, size: int) -> TrainingConfig:
    """Return the configuration with batches of `size` samples, taken at once and not compiled, as they are counted."""
    batches = {"batch_size": size, "accumulation": 1}
    parts: dict[str, Any] = {"compile": "none"}
    for name, part in (("warm_start", config.warm_start), ("flow", config.flow)):
        parts[name] = part.model_copy(update={"optimiser": part.optimiser.model_copy(update=batches)})
    if config.both is not None:
        parts["both"] = config.both.model_copy(update=batches)
    parts["rollouts"] = tuple(rollout.model_copy(update=batches) for rollout in config.rollouts)
    return config.model_copy(update=parts)


def _sum_up(stages: Sequence[dict[str, Any]], processes: int, prices: Prices) -> dict[str, Any]:
    hours = sum(stage["gpu_hours"] for stage in stages)
    memory = max(stage["memory"]["total"] for stage in stages)
    return {
        "measured_hours": sum(stage["measured_hours"] for stage in stages),
        "gpu_hours": hours,
        "gpus": processes,
        "cost": hours * processes * prices.per_hour,
        "memory_bytes": memory,
        "fits": memory <= prices.spec.memory_bytes,
    }


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
