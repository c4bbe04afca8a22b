"""The two stages of a training as losses: h by its likelihood, then p' by flow matching on h's residuals."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from models.blending import blend_scale
from models.build import Networks
from models.flow import flow_matching_loss
from models.paths import skewed_times
from models.warm_start import gaussian_nll, normalised_residual
from training.config import TrainingConfig
from training.dataset import WeatherSeries
from training.streams import Purpose, batch_indices, generator

Fields = Float[Tensor, "sample variable lat lon"]


class WarmStartStage:
    """Loss and validation of h: Gaussian negative log-likelihood of the next frame (Eq. 5)."""

    def __init__(self, config: TrainingConfig, series: WeatherSeries, networks: Networks) -> None:
        self._config, self._series, self._context = config, series, networks.context
        self._train = series.triples(config.data.train_years)
        self._held_out = validation_indices(series, config)

    def loss(self, net: nn.Module, step: int) -> Float[Tensor, ""]:
        """Return the loss on the batch of an optimiser step."""
        size = self._config.warm_start.optimiser.batch_size
        return self._nll(net, batch_indices(self._train, size, self._config.seed, step))[0]

    @torch.inference_mode()
    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return likelihood and mean absolute errors (physical units) on held-out frames."""
        parts = [self._nll(net, part) for part in np.array_split(self._held_out, max(len(self._held_out) // 16, 1))]
        nll = float(np.mean([part[0].item() for part in parts]))
        errors = np.mean([part[1] for part in parts], axis=0)
        names = self._config.variables
        return {"nll": nll} | {f"mae_{name}": float(error) for name, error in zip(names, errors, strict=True)}

    def _nll(self, net: nn.Module, indices: NDArray[np.int64]) -> tuple[Float[Tensor, ""], NDArray[np.float64]]:
        batch = self._series.batch(indices)
        mean, std = net(self._context(batch.newest, batch.previous, batch.features))
        target = self._context.normalise(batch.target)
        error = ((mean - target).abs() * self._context.std).detach()
        weights = torch.from_numpy(self._series.grid.area_weights.astype(np.float32))[:, None]
        return gaussian_nll(target, mean, std), (error * weights).mean((0, 2, 3)).numpy().astype(np.float64)


class FlowStage:
    """Loss and validation of p': flow matching on residuals of the frozen h (Algorithm 1).

    h is evaluated once for each training frame and kept: its weights no longer change.
    """

    def __init__(self, config: TrainingConfig, series: WeatherSeries, networks: Networks) -> None:
        self._config, self._series, self._networks = config, series, networks
        self._train = series.triples(config.data.train_years)
        self._held_out = validation_indices(series, config)
        needed = np.concatenate([self._train, self._held_out])
        self._row = {int(index): row for row, index in enumerate(needed)}
        self._mean, self._std = self._warm_starts(needed)

    def loss(self, net: nn.Module, step: int) -> Float[Tensor, ""]:
        """Return the loss on the batch of an optimiser step."""
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
        parts = np.array_split(self._held_out, max(len(self._held_out) // 16, 1))
        losses = [self._flow_loss(net, part, torch.ones(len(part)), draws).item() for part in parts]
        return {"loss_full_warmth": float(np.mean(losses))}

    def _flow_loss(
        self, net: nn.Module, indices: NDArray[np.int64], warmth: Tensor, draws: torch.Generator
    ) -> Float[Tensor, ""]:
        batch = self._series.batch(indices)
        rows = torch.tensor([self._row[int(index)] for index in indices])
        mean, scale = self._mean[rows], blend_scale(self._std[rows], warmth)
        x_1 = normalised_residual(self._networks.context.normalise(batch.target), mean, scale)
        x_0 = torch.randn(x_1.shape, generator=draws)
        t = skewed_times(torch.randn(len(indices), generator=draws))
        context = self._networks.context(batch.newest, batch.previous, batch.features)
        return flow_matching_loss(net, x_0, x_1, t, warmth, context, mean, scale)  # type: ignore[arg-type]

    @torch.inference_mode()
    def _warm_starts(self, indices: NDArray[np.int64]) -> tuple[Fields, Fields]:
        shape = (len(indices), len(self._config.variables), *self._series.grid.shape)
        mean, std = torch.empty(shape), torch.empty(shape)
        for start in range(0, len(indices), 16):
            batch = self._series.batch(indices[start : start + 16])
            context = self._networks.context(batch.newest, batch.previous, batch.features)
            mean[start : start + 16], std[start : start + 16] = self._networks.warm_start(context)
        return mean, std


def validation_indices(series: WeatherSeries, config: TrainingConfig) -> NDArray[np.int64]:
    """Return the held-out middle frames, evenly spread over the validation years."""
    all_of_them = series.triples(config.data.validation_years)
    count = min(config.data.validation_samples, len(all_of_them))
    return all_of_them[np.linspace(0, len(all_of_them) - 1, count).round().astype(np.int64)]
