"""Validation while training: scores of the averaged weights on the validation years, with the same noise each time.

docs/validation.md defines each score.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.scores.arrays import area_mean
from diagnostics.scores.growth import anomaly_amplitude, growth_factor
from models.execution import Execution
from models.forecaster import Forecaster
from models.networks import Networks
from models.noise import ForecastNoise
from models.rollout import mean_rollout, rollout
from models.shapes import Fields
from models.warm_start import normalised_residual
from training.config import TrainingConfig
from training.data.batch import Batch
from training.data.training_data import TrainingData
from training.draws import Purpose, draw_for_flow, generator, stream_seed
from training.evaluation.steppers import ResidualStepper
from training.losses import StageLoss, StepInputs
from training.validation_records import (
    Record,
    Scores,
    combine_records,
    correlate_residuals,
    name_by_variable,
    score_members,
    score_spectra,
)
from weather.errors import TrainingDataError
from weather.periods import format_periods

_CHUNK_SIZE = 16
"""Number of samples that are evaluated together."""

_MEMORY_SHARE = 0.25
"""Largest part of the memory for data that may keep the samples of a validation."""

_GROWTH_STARTS = 2
"""Number of starts of the rollout of h's mean."""


class Validator:
    """Scores networks on the validation years, as `config.validation` says; averages over starts are in float64.

    Raises `TrainingDataError` if the validation years have no start with truth at all lead times.
    """

    def __init__(self, config: TrainingConfig, data: TrainingData, device: torch.device) -> None:
        settings = config.validation
        self._config, self._data, self._device = config, data, device
        self._execution = Execution(precision=config.precision)
        self._lead_steps = settings.lead_steps(config.time_step_hours)
        samples = data.sample_indices(config.data.validation_years)
        self._samples = _spread(samples, settings.samples)
        self.starts = _spread(_with_truth(data, samples, self._lead_steps[-1]), settings.starts)
        if not len(self.starts):
            raise TrainingDataError(
                f"`data.validation_years` {format_periods(config.data.validation_years)} must have "
                f"{config.context_frames} frames and {self._lead_steps[-1] * config.time_step_hours} hours of truth "
                f"after them, for `validation.lead_times`. Got: {len(samples)} samples of training, none with so many "
                "after it."
            )
        num_samples = len(self._samples) + len(self.starts) * self._lead_steps[-1]
        num_values = (config.context_frames + 1) * len(config.variables) * int(np.prod(data.grid.shape))
        self._keeps_batches = 4 * num_samples * num_values <= _MEMORY_SHARE * config.data.memory_bytes
        self._batches: dict[bytes, Batch] = {}

    @torch.inference_mode()
    def validate(self, networks: Networks, *, with_flow: bool) -> Scores:
        """Return the scores of networks, which are in evaluation mode on the device.

        Without `with_flow` the scores of p' and of forecasts are left out. NaN stands for the scores of a forecast that
        lost a member. No draw is from a global generator.
        """
        scores, climatology = self._score_samples(networks, with_flow)
        forecaster = Forecaster(networks, self._config.sampling, self._device, self._execution)
        records = [self._score_start(networks, forecaster, number, with_flow) for number in range(len(self.starts))]
        scores |= combine_records(
            records,
            networks.spec.variables,
            self._config.time_step_hours,
            self._config.validation.members,
        )
        if num_steps := self._config.validation.growth_steps(self._config.time_step_hours):
            scores["growth_rate"] = self._measure_growth(forecaster, climatology, num_steps)
        return scores

    def _batch(self, indices: NDArray[np.int64]) -> Batch:
        """Return samples on the device; of streamed data they are read once if they need little memory."""
        if self._data.kept is not None or not self._keeps_batches:
            return self._data.batch(indices, self._device)
        key = indices.tobytes()
        if key not in self._batches:
            self._batches[key] = self._data.batch(indices)
        return self._batches[key].to(self._device)

    def _score_samples(self, networks: Networks, with_flow: bool) -> tuple[Scores, torch.Tensor]:
        """Return losses and mean absolute errors over all samples, and the mean of their targets, the climatology."""
        weights = torch.from_numpy(self._data.grid.area_weights.astype(np.float32))[:, None].to(self._device)
        stage_loss = StageLoss(
            networks,
            "both" if with_flow else "warm_start",
            area_weights=weights if self._config.area_weights else None,
        )
        totals: dict[str, Any] = {}
        for number, chunk in enumerate(np.array_split(self._samples, max(len(self._samples) // _CHUNK_SIZE, 1))):
            batch = self._batch(chunk)
            mean, std = self._evaluate_warm_start(networks, batch)
            results: dict[str, Any] = dict(self._losses(stage_loss, batch, mean, std, number))
            errors = (networks.context.denormalise(mean) - batch.target).abs()
            results["mae"] = area_mean(errors, self._data.grid.area_weights).mean(0)
            results["climatology"] = batch.target.mean(0)
            for name, value in results.items():
                totals[name] = totals.get(name, 0.0) + value * (len(chunk) / len(self._samples))
        climatology, errors = totals.pop("climatology"), totals.pop("mae")
        losses: Scores = {name: float(value) for name, value in totals.items()}
        return losses | name_by_variable("mae", networks.spec.variable_names, errors.tolist()), climatology

    def _losses(
        self, stage_loss: StageLoss, batch: Batch, mean: Fields, std: Fields, number: int
    ) -> Mapping[str, torch.Tensor]:
        """Return the losses of a chunk of samples at full warmth; its noise and flow times depend on `number` alone."""
        draws = None
        if stage_loss.stage == "both":
            shape = (*batch.target.shape,)
            stream = generator(self._config.seed, Purpose.VALIDATION, number)
            draws = draw_for_flow(shape, stream, full_warmth_fraction=1.0, share=slice(None))
        inputs = StepInputs.of(batch, draws, (mean, std)).map(lambda tensor: tensor.to(self._device))
        with self._execution.autocast(self._device):
            losses: Mapping[str, torch.Tensor] = stage_loss(inputs)
        return losses

    def _evaluate_warm_start(self, networks: Networks, batch: Batch) -> tuple[Fields, Fields]:
        """Return mean and standard deviation of h in normalised units, float32."""
        with self._execution.autocast(self._device):
            mean, std = networks.warm_start(networks.context(batch.frames, batch.features))
        return mean.float(), std.float()

    def _score_start(self, networks: Networks, forecaster: Forecaster, number: int, with_flow: bool) -> Record:
        """Return the record of one start: residuals of the truth that follows it and, `with_flow`, of a forecast."""
        steps = range(self._lead_steps[-1])
        run = self._batch(np.concatenate([self._data.shift(self.starts[[number]], step) for step in steps]))
        mean, std = self._evaluate_warm_start(networks, run)
        residuals = normalised_residual(networks.context.normalise(run.target), mean, std)
        record = correlate_residuals("truth", residuals, self._data.grid)
        if not with_flow:
            return record
        num_members, init_time = self._config.validation.members, self._data.valid_times[self.starts[number]]
        stepper = ResidualStepper(forecaster, forecaster)
        seed = stream_seed(self._config.seed, Purpose.VALIDATION, number, 1)
        noise = ForecastNoise.of(networks.spec, self._config.noise, seed=seed, init_time=init_time)
        states = rollout(
            stepper,
            tuple(frame[:1].expand(num_members, -1, -1, -1) for frame in run.frames),
            noise.draw(range(num_members)),
            init_time=init_time,
        )
        for step, members in enumerate(islice(states, self._lead_steps[-1]), start=1):
            if step in self._lead_steps:
                record |= score_members(step, members, run.target[step - 1], self._data.grid)
        record |= correlate_residuals("members", torch.stack(stepper.residuals), self._data.grid)
        return record | score_spectra(stepper.residuals[0], residuals, self._data.grid)

    def _measure_growth(self, forecaster: Forecaster, climatology: torch.Tensor, num_steps: int) -> float:
        """Return the factor a step by which h's mean departs from climatology, in the second half of `num_steps`."""
        scales = [variable.std for variable in forecaster.spec.variables]
        factors = []
        for start in _spread(self.starts, _GROWTH_STARTS):
            frames = self._batch(np.array([start])).frames
            means = mean_rollout(forecaster, frames, init_time=self._data.valid_times[start])
            amplitudes = [
                anomaly_amplitude(mean[0], climatology, scales, self._data.grid.area_weights)
                for mean in islice(means, num_steps // 2, num_steps)
            ]
            factors.append(float(growth_factor(torch.stack(amplitudes))))
        return float(np.median(factors))


def _with_truth(data: TrainingData, samples: NDArray[np.int64], num_steps: int) -> NDArray[np.int64]:
    """Return the samples that the next `num_steps` - 1 time steps continue with samples."""
    complete = np.ones(len(samples), bool)
    for step in range(1, num_steps):
        complete &= np.isin(data.shift(samples, step), samples)
    return samples[complete]


def _spread(indices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return at most `count` of `indices`, evenly spread."""
    chosen = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(np.int64)
    return indices[chosen]
