"""The loss of rollouts through the sampler: CRPS of the members at every lead time, and of their harmonics."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diagnostics.scores.crps import crps_almost_fair
from diagnostics.scores.spectra import wavenumber_bands
from models.averages import weighted_mean
from models.networks import Networks
from models.noise import advance_noise
from models.shapes import Context, Fields, Frames, RowWeights, Scalar
from models.solvers import evaluation_times, power_grid, solve
from models.warm_start import blend_scale, gaussian_nll, restore
from training.losses import StepInputs
from training.rollout_config import RolloutConfig
from training.spherical import SphericalTransform
from weather.grids import Grid
from weather.manifest import NoiseSpec, Sampling

_LEAST_HARMONIC_ERROR = 0.02


@dataclass(frozen=True)
class PersistenceErrors:
    """Mean errors of persistence in normalised units, by which those of forecasts are divided.

    `absolute` and `squared` are (lead time, variable), `harmonic` (lead time, variable, total wavenumber): the mean
    absolute error of the coefficients, at least a fiftieth of its mean over wavenumbers: scales at which the data has
    next to no power count, or forecasts fill them, but do not rule the loss.
    """

    absolute: Tensor
    squared: Tensor
    harmonic: Tensor

    @classmethod
    def of(cls, start: Fields, targets: list[Fields], grid: Grid) -> "PersistenceErrors":
        """Return the errors of the normalised fields `start` for those at each lead time, over all samples."""
        transform = SphericalTransform(grid).to(start.device)
        weights = torch.from_numpy(grid.area_weights).to(start)[:, None]
        errors = [target - start for target in targets]
        harmonic = torch.stack([transform.mean_by_degree(transform(error).abs()).mean(0) for error in errors])
        return cls(
            torch.stack([(error.abs() * weights).mean((0, 2, 3)) for error in errors]),
            torch.stack([(error**2 * weights).mean((0, 2, 3)) for error in errors]),
            torch.maximum(harmonic, _LEAST_HARMONIC_ERROR * harmonic.mean(-1, keepdim=True)),
        )


class RolloutLoss(nn.Module):
    """The losses of forecasts of several members and time steps through the sampler, by name.

    `crps` is the almost fair CRPS of the members in normalised units, and `harmonic_crps` the same of their spherical
    harmonics; `mean_error` is the squared error of the rollout of h's mean alone, without noise. Each is divided by the
    error of persistence at its lead time, and averaged over lead times and variables. `spread_error` is how far the
    members' spread is from the error of their mean, by bands of wavenumbers. `nll` is the likelihood of h at the first
    time step. All samples of noise are those of a forecast: `noise` correlates them in time. Gradients pass
    through the time steps that `settings` counts, and only their lead times count.
    Source: Lang et al., AIFS-CRPS (2024), for the almost fair CRPS; Bonev et al., FourCastNet 3 (2025), for that of
    spherical harmonics.
    """

    area_weights: Tensor | None
    noise_scales: Tensor

    def __init__(
        self,
        networks: Networks,
        settings: RolloutConfig,
        sampling: Sampling,
        noise: NoiseSpec,
        persistence: PersistenceErrors,
        *,
        area_weights: RowWeights | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.settings, self.sampling, self.noise = networks.spec, settings, sampling, noise
        self.context, self.warm_start, self.flow = networks.context, networks.warm_start, networks.flow
        self.transform = SphericalTransform(networks.spec.grid.grid)
        self._bands = tuple(wavenumber_bands(self.transform.highest).values())
        self._times = power_grid(sampling.num_steps, sampling.power)
        self._persistence = persistence
        self._evaluate_warm_start: Callable[..., Any] = self.warm_start
        self._evaluate_flow: Callable[..., Any] = self.flow.velocity
        self.register_buffer("area_weights", area_weights, persistent=False)
        scales = torch.tensor(noise.scales(networks.spec.variable_names))[:, None, None]
        self.register_buffer("noise_scales", scales, persistent=False)

    def compile_networks(self) -> None:
        """Compile both networks for the shapes of each evaluation; the rollout around them stays as it is."""
        self._evaluate_warm_start = torch.compile(self.warm_start, dynamic=False)
        self._evaluate_flow = torch.compile(self.flow.velocity, dynamic=False)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weight of each loss, without those that are not computed."""
        weights = {"crps": 1.0, "harmonic_crps": self.settings.harmonic_weight}
        weights |= {"spread_error": self.settings.spread_weight}
        weights |= {"mean_error": self.settings.mean_weight, "nll": self.settings.nll_weight}
        return {name: weight for name, weight in weights.items() if weight}

    def forward(self, inputs: StepInputs) -> Mapping[str, Scalar]:
        """Return the losses on a batch, each a mean over its samples."""
        losses: dict[str, list[Scalar]] = {name: [] for name in self.loss_weights}
        for index, (states, step) in enumerate(zip(self._forecast(inputs), inputs.steps, strict=False)):
            if not self.settings.counts(index):
                continue
            with torch.autocast(states.device.type, enabled=False):
                target = self.context.normalise(step.target)
                losses["crps"].append(self._score_fields(states, target, index))
                for name, value in self._score_harmonics(states, target, index).items():
                    losses[name].append(value)
        if "mean_error" in losses or "nll" in losses:
            self._add_warm_start(inputs, losses)
        return {name: torch.stack(values).mean() for name, values in losses.items()}

    def _start(self, inputs: StepInputs) -> tuple[Fields, ...]:
        """Return the frames of the start, with noise if they get any."""
        if inputs.frame_noise is None:
            return tuple(inputs.frames)
        scale = self.settings.input_noise * self.context.std
        return tuple(frame + scale * inputs.frame_noise[:, age] for age, frame in enumerate(inputs.frames))

    def _forecast(self, inputs: StepInputs) -> Iterator[Fields]:
        """Yield the normalised states of each time step (member, sample, …), with gradients where it counts."""
        assert inputs.noise is not None
        samples, members = inputs.noise.shape[:2]
        frames = tuple(_repeat(frame, members) for frame in self._start(inputs))
        noise: Fields | None = None
        for index, step in enumerate(inputs.steps[: self.settings.time_steps]):
            correlation = self.noise.correlation_at(index, self.spec.time_step_hours)
            noise = advance_noise(noise, inputs.noise[:, :, index].flatten(0, 1), correlation)
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.counts(index)):
                states = self._step(frames, _repeat(step.features, members), self.noise_scales * noise)
                frames = (self.context.denormalise(states), *frames[:-1])
            yield states.unflatten(0, (samples, members)).transpose(0, 1)

    def _step(self, frames: Frames, features: Tensor, noise: Fields) -> Fields:
        """Return the states one time step after `frames`, normalised (Algorithm 2 of the paper)."""
        context: Context = self.context(frames, features)
        mean, std = self._warm_start(context)
        warmth = torch.full((1,), self.sampling.warmth, device=mean.device)
        scale = blend_scale(std, warmth)
        fixed = self.flow.precompute(context, mean, scale)
        embeddings = {}
        for t in evaluation_times(self.sampling.solver, self._times):
            time = torch.full((1,), t, device=mean.device)
            embeddings[t] = time, self.flow.embed(time, warmth)

        def evaluate(x_t: Fields, t: float) -> Fields:
            velocity: Tensor = self._evaluate_flow(x_t, *embeddings[t], fixed)
            return velocity

        return restore(solve(self.sampling.solver, evaluate, noise, self._times), mean, scale)

    def _warm_start(self, context: Context) -> tuple[Fields, Fields]:
        mean, std = self._evaluate_warm_start(context)
        return mean.float(), std.float()

    def _add_warm_start(self, inputs: StepInputs, losses: dict[str, list[Scalar]]) -> None:
        """Add the losses of h: its likelihood at the first time step, and the errors of its mean's rollout."""
        frames = self._start(inputs)
        steps = inputs.steps if "mean_error" in losses else inputs.steps[:1]
        for index, step in enumerate(steps):
            counts = self.settings.counts_in_mean(index)
            with torch.set_grad_enabled(torch.is_grad_enabled() and (counts or index == 0)):
                mean, std = self._warm_start(self.context(frames, step.features))
            frames = (self.context.denormalise(mean if counts else mean.detach()), *frames[:-1])
            with torch.autocast(mean.device.type, enabled=False):
                target = self.context.normalise(step.target)
                if index == 0 and "nll" in losses:
                    losses["nll"].append(gaussian_nll(target, mean, std, self.area_weights))
                if counts and "mean_error" in losses:
                    units = self._persistence.squared[index][:, None, None]
                    losses["mean_error"].append(weighted_mean((mean - target) ** 2 / units, self.area_weights))

    def _score_fields(self, states: Tensor, target: Fields, index: int) -> Scalar:
        units = self._persistence.absolute[index][:, None, None]
        crps = crps_almost_fair(states / units, target / units, self.settings.alpha)
        return weighted_mean(crps, self.area_weights)

    def _score_harmonics(self, states: Tensor, target: Fields, index: int) -> Mapping[str, Scalar]:
        """Return the losses of the coefficients in spherical harmonics, of those that have a weight."""
        if not (self.settings.harmonic_weight or self.settings.spread_weight):
            return {}
        mean_by_degree, units = self.transform.mean_by_degree, self._persistence.harmonic[index]
        members, truth = self.transform(states), self.transform(target)
        losses = {}
        if self.settings.harmonic_weight:
            crps = crps_almost_fair(members, truth, self.settings.alpha)
            losses["harmonic_crps"] = (mean_by_degree(crps) / units).mean()
        if self.settings.spread_weight:
            error = mean_by_degree((truth - members.mean(0)).detach() ** 2) / units**2
            variance = mean_by_degree(members.var(0)) * (1 + 1 / len(members)) / units**2
            ratios = [_log_ratio(variance[..., band], error[..., band]) for band in self._bands]
            losses["spread_error"] = torch.stack(ratios).square().mean()
        return losses


def _log_ratio(first: Tensor, second: Tensor) -> Tensor:
    """Return the logarithm of the ratio of two powers (…, degree), each a sum over degrees."""
    tiny = torch.finfo(first.dtype).tiny
    return first.sum(-1).clamp(min=tiny).log() - second.sum(-1).clamp(min=tiny).log()


def _repeat(fields: Tensor, members: int) -> Tensor:
    """Return each sample's fields for each of its members, (sample · member, …)."""
    return fields.repeat_interleave(members, dim=0)
