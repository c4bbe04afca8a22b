"""Losses of the two training stages, the likelihood of h and flow matching on its residuals; their random streams."""

from enum import IntEnum
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.flow import FlowNet, flow_matching_loss
from models.networks import Networks
from models.paths import skewed_times
from models.shapes import Fields, Scalar, Warmth
from models.warm_start import blend_scale, gaussian_nll, normalised_residual
from training.config import TrainingConfig
from training.dataset import WeatherSeries

_CHUNK_SIZE = 16
"""Number of samples that are evaluated together if no gradient is needed."""


class WarmStartStage:
    """Loss and validation of h: Gaussian negative log-likelihood of the next frame (Eq. 5)."""

    def __init__(self, config: TrainingConfig, series: WeatherSeries, networks: Networks) -> None:
        self._config, self._series, self._context = config, series, networks.context
        self._train = series.middle_indices(config.data.train_years)
        self._held_out = validation_indices(series, config)

    def loss(self, net: nn.Module, step: int) -> Scalar:
        """Return the loss of `net` on the batch of optimiser step `step` (from 0); seed and step determine it."""
        size = self._config.warm_start.optimiser.batch_size
        return self._loss_and_errors(net, batch_indices(self._train, size, self._config.seed, step))[0]

    @torch.inference_mode()
    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the loss and each variable's mean absolute error (physical units) on held-out frames."""
        chunks = _split(self._held_out)
        results, sizes = [self._loss_and_errors(net, chunk) for chunk in chunks], [len(chunk) for chunk in chunks]
        nll = float(np.average([loss.item() for loss, _ in results], weights=sizes))
        errors = np.average([errors for _, errors in results], axis=0, weights=sizes)
        names = self._config.variables
        return {"nll": nll} | {f"mae_{name}": float(error) for name, error in zip(names, errors, strict=True)}

    def _loss_and_errors(self, net: nn.Module, indices: NDArray[np.int64]) -> tuple[Scalar, NDArray[np.float64]]:
        """Return loss and each variable's area-weighted mean absolute error, of triples with these middle frames."""
        batch = self._series.batch(indices)
        mean, std = net(self._context((batch.newest, batch.previous), batch.features))
        target = self._context.normalise(batch.target)
        error = ((mean - target).abs() * self._context.std).detach()
        weights = torch.from_numpy(self._series.grid.area_weights.astype(np.float32))[:, None]
        return gaussian_nll(target, mean, std), (error * weights).mean((0, 2, 3)).numpy().astype(np.float64)


class FlowStage:
    """Loss and validation of p': flow matching on residuals of the frozen h (Algorithm 1).

    h is evaluated once for each frame, and its results are kept in memory, because its weights no longer change.
    """

    def __init__(self, config: TrainingConfig, series: WeatherSeries, networks: Networks) -> None:
        self._config, self._series, self._networks = config, series, networks
        self._train = series.middle_indices(config.data.train_years)
        self._held_out = validation_indices(series, config)
        needed = np.concatenate([self._train, self._held_out])
        self._row = {int(index): row for row, index in enumerate(needed)}
        self._mean, self._std = self._evaluate_warm_start(needed)

    def loss(self, net: nn.Module, step: int) -> Scalar:
        """Return the loss of `net` on the batch of optimiser step `step` (from 0); seed and step determine it."""
        size = self._config.flow.optimiser.batch_size
        indices = batch_indices(self._train, size, self._config.seed, step)
        draws = generator(self._config.seed, Purpose.FLOW, step)
        warmth = torch.rand(len(indices), generator=draws)
        full = torch.rand(len(indices), generator=draws) < self._config.flow.full_warmth_fraction
        return self._flow_loss(net, indices, torch.where(full, 1.0, warmth), draws)

    @torch.inference_mode()
    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the loss at full warmth on held-out frames; its floor for white residuals is 1.539."""
        draws = generator(self._config.seed, Purpose.VALIDATION, 0)
        chunks = _split(self._held_out)
        losses = [self._flow_loss(net, chunk, torch.ones(len(chunk)), draws).item() for chunk in chunks]
        return {"loss_full_warmth": float(np.average(losses, weights=[len(chunk) for chunk in chunks]))}

    def _flow_loss(self, net: nn.Module, indices: NDArray[np.int64], warmth: Warmth, draws: torch.Generator) -> Scalar:
        """Return the loss of `net` on the triples of consecutive frames whose middle frames are at `indices`.

        Noise and flow times are drawn from `draws`.
        """
        batch = self._series.batch(indices)
        rows = torch.tensor([self._row[int(index)] for index in indices])
        mean, scale = self._mean[rows], blend_scale(self._std[rows], warmth)
        x_1 = normalised_residual(self._networks.context.normalise(batch.target), mean, scale)
        x_0 = torch.randn(x_1.shape, generator=draws)
        t = skewed_times(torch.randn(len(indices), generator=draws))
        context = self._networks.context((batch.newest, batch.previous), batch.features)
        return flow_matching_loss(cast("FlowNet", net), x_0, x_1, t, warmth, context, mean, scale)

    @torch.inference_mode()
    def _evaluate_warm_start(self, indices: NDArray[np.int64]) -> tuple[Fields, Fields]:
        """Return mean and standard deviation of h for the given middle frames, in normalised units."""
        shape = (len(indices), len(self._config.variables), *self._series.grid.shape)
        mean, std = torch.empty(shape), torch.empty(shape)
        for first in range(0, len(indices), _CHUNK_SIZE):
            chunk = slice(first, first + _CHUNK_SIZE)
            batch = self._series.batch(indices[chunk])
            context = self._networks.context((batch.newest, batch.previous), batch.features)
            mean[chunk], std[chunk] = self._networks.warm_start(context)
        return mean, std


def validation_indices(series: WeatherSeries, config: TrainingConfig) -> NDArray[np.int64]:
    """Return the indices of the held-out middle frames, evenly spread over the validation years."""
    indices = series.middle_indices(config.data.validation_years)
    count = min(config.data.validation_samples, len(indices))
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]


def _split(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return `indices` in chunks of nearly equal size, each of at least `_CHUNK_SIZE` if there are as many."""
    return np.array_split(indices, max(len(indices) // _CHUNK_SIZE, 1))


class Purpose(IntEnum):
    """The purpose of a random stream; streams of different purposes are independent."""

    ORDER = 0
    WARM_START = 1
    FLOW = 2
    VALIDATION = 3


def generator(seed: int, purpose: Purpose, step: int) -> torch.Generator:
    """Return a CPU generator of torch for one step of one purpose."""
    words = np.random.SeedSequence([seed, purpose, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> 1))


def batch_indices(samples: NDArray[np.int64], batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Return the samples of optimiser step `step`.

    Each epoch is a new permutation of all samples; the last batch of an epoch is dropped if it is incomplete.
    """
    per_epoch = max(len(samples) // batch_size, 1)
    epoch, batch = divmod(step, per_epoch)
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, Purpose.ORDER, epoch])))
    return samples[order.permutation(len(samples))[batch * batch_size : (batch + 1) * batch_size]]
