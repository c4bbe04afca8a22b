"""One step of the forecast: Algorithm 2 of the paper around a solver."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.blending import blend_scale
from models.build import Networks
from models.flow import FlowNet
from models.solvers import solve
from models.time_grids import power_grid
from models.warm_start import restore
from weather.features import feature_fields
from weather.manifest import Sampling

Fields = Float[Tensor, "member channel lat lon"]


class WarmField:
    """The vector field that the flow network gives for one context; counts its evaluations in `nfe`."""

    def __init__(self, net: FlowNet, warmth: Tensor, context: Tensor, mean: Fields, scale: Fields) -> None:
        self._net, self._warmth, self._context, self._mean, self._scale = net, warmth, context, mean, scale
        self.nfe = 0

    def __call__(self, x_t: Fields, t: float) -> Fields:
        """Return the velocity at `x_t` and flow time `t`."""
        self.nfe += 1
        times = torch.full((x_t.shape[0],), t, dtype=x_t.dtype, device=x_t.device)
        return self._net(x_t, times, self._warmth, self._context, self._mean, self._scale)  # type: ignore[no-any-return]


class Forecaster:
    """Carry states one time step ahead with the networks of a checkpoint."""

    def __init__(self, networks: Networks, sampling: Sampling, device: torch.device) -> None:
        self.spec = networks.spec
        self.sampling = sampling
        self.device = device
        self._networks = networks
        self._times = power_grid(sampling.num_steps, sampling.power)

    @torch.inference_mode()
    def step(self, previous: Fields, newest: Fields, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after `newest`, whose time is `valid_time`.

        States are float32 on the forecaster's device in physical units; `noise` is standard normal of their shape.
        Source: Scholz & Turner, Algorithm 2.
        """
        context = self._context(previous, newest, valid_time)
        mean, std = self._networks.warm_start(context)
        warmth = torch.full((newest.shape[0],), self.sampling.warmth, dtype=newest.dtype, device=self.device)
        scale = blend_scale(std, warmth)
        field = WarmField(self._networks.flow, warmth, context, mean, scale)
        x_1 = solve(self.sampling.solver, field, noise, self._times)
        assert field.nfe == self.sampling.nfe
        return self._networks.context.denormalise(restore(x_1, mean, scale))

    @torch.inference_mode()
    def warm_start(self, previous: Fields, newest: Fields, valid_time: np.datetime64) -> tuple[Fields, Fields]:
        """Return the warm start's own mean and standard deviation one time step after `newest`, in physical units."""
        mean, std = self._networks.warm_start(self._context(previous, newest, valid_time))
        return self._networks.context.denormalise(mean), std * self._networks.context.std

    def _context(self, previous: Fields, newest: Fields, valid_time: np.datetime64) -> Tensor:
        features = feature_fields(self.spec.features, self.spec.grid.grid, valid_time)[None]
        context: Tensor = self._networks.context(newest, previous, torch.from_numpy(features).to(self.device))
        return context
