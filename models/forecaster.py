"""One step of the forecast: Algorithm 2 of the paper around a solver."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.blending import blend_scale
from models.build import Networks
from models.execution import Execution
from models.solvers import evaluation_times, solve
from models.time_grids import power_grid
from models.unet import FixedInputs
from models.warm_start import restore
from weather.features import feature_fields
from weather.manifest import Sampling

Fields = Float[Tensor, "member channel lat lon"]
EAGER = Execution()


@runtime_checkable
class Watch(Protocol):
    """Who hears of each evaluation before it is made, and may end the step by raising."""

    def before(self, network: str, members: int) -> None:
        """Hear that `network`, `warm_start` or `flow`, is about to be evaluated for `members` members."""


class WarmField:
    """The vector field that the flow network gives for one context; counts its evaluations in `nfe`."""

    def __init__(
        self, velocity: Callable[..., Fields], embeddings: dict[float, tuple[Tensor, Tensor]], fixed: FixedInputs
    ) -> None:
        self._velocity, self._embeddings, self._fixed = velocity, embeddings, fixed
        self.nfe = 0

    def __call__(self, x_t: Fields, t: float) -> Fields:
        """Return the velocity at `x_t` and flow time `t`."""
        self.nfe += 1
        return self._velocity(x_t, *self._embeddings[t], self._fixed)


class Forecaster:
    """Carry states one time step ahead with the networks of a checkpoint."""

    def __init__(
        self,
        networks: Networks,
        sampling: Sampling,
        device: torch.device,
        execution: Execution = EAGER,
        watch: Watch | None = None,
    ) -> None:
        self.spec = networks.spec
        self.sampling = sampling
        self.device = device
        self._networks = networks
        self._execution, self._watch = execution, watch
        self._times = power_grid(sampling.num_steps, sampling.power)
        self._compiled_warm_start = execution.prepared(networks.warm_start, device)
        self._compiled_velocity = execution.prepared(networks.flow.velocity, device)
        self._embeddings: dict[float, tuple[Tensor, Tensor]] = {}

    @torch.inference_mode()
    def step(self, previous: Fields, newest: Fields, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after `newest`, whose time is `valid_time`.

        States are float32 on the forecaster's device in physical units; `noise` is standard normal of their shape.
        Where all members share their frames (tensors expanded from one), the warm start is evaluated once for all.
        Source: Scholz & Turner, Algorithm 2.
        """
        context, mean, std = self._warm_start(previous, newest, valid_time)
        warmth = torch.full((1,), self.sampling.warmth, dtype=newest.dtype, device=self.device)
        scale = blend_scale(std, warmth)
        field = WarmField(self._velocity, self._embedded(warmth), self._fixed(context, mean, scale))
        x_1 = solve(self.sampling.solver, field, noise, self._times)
        assert field.nfe == self.sampling.nfe
        return self._networks.context.denormalise(restore(x_1, mean, scale))

    @torch.inference_mode()
    def warm_start(self, previous: Fields, newest: Fields, valid_time: np.datetime64) -> tuple[Fields, Fields]:
        """Return the warm start's own mean and standard deviation one time step after `newest`, in physical units."""
        _, mean, std = self._warm_start(previous, newest, valid_time)
        return self._networks.context.denormalise(mean), std * self._networks.context.std

    def _warm_start(
        self, previous: Fields, newest: Fields, valid_time: np.datetime64
    ) -> tuple[Float[Tensor, "member context lat lon"], Fields, Fields]:
        members, shared = newest.shape[0], _is_one(previous) and _is_one(newest)
        if shared:
            previous, newest = previous[:1], newest[:1]
        context = self._context(previous, newest, valid_time)
        evaluate = self._networks.warm_start if shared else self._compiled_warm_start
        mean, std = self._evaluated("warm_start", len(newest), evaluate, context)
        return (
            context.expand(members, -1, -1, -1),
            mean.float().expand(members, -1, -1, -1),
            std.float().expand(members, -1, -1, -1),
        )

    def _velocity(self, x_t: Fields, t: Tensor, embedding: Tensor, fixed: FixedInputs) -> Fields:
        velocity: Tensor = self._evaluated("flow", len(x_t), self._compiled_velocity, x_t, t, embedding, fixed)
        return velocity.float()

    def _evaluated(self, network: str, members: int, evaluate: Callable[..., Any], *arguments: Any) -> Any:
        if self._watch is not None:
            self._watch.before(network, members)
        with self._execution.autocast(self.device):
            return evaluate(*arguments)

    def _fixed(self, context: Tensor, mean: Fields, scale: Fields) -> FixedInputs:
        with self._execution.autocast(self.device):
            return self._networks.flow.prepare(context, mean, scale)

    def _embedded(self, warmth: Tensor) -> dict[float, tuple[Tensor, Tensor]]:
        """Return flow time and embedding of each evaluation of a step, the same in every step."""
        if not self._embeddings:
            for t in evaluation_times(self.sampling.solver, self._times):
                time = torch.full((1,), t, dtype=warmth.dtype, device=self.device)
                self._embeddings[t] = time, self._networks.flow.embed(time, warmth)
        return self._embeddings

    def _context(self, previous: Fields, newest: Fields, valid_time: np.datetime64) -> Tensor:
        features = feature_fields(self.spec.features, self.spec.grid.grid, valid_time)[None]
        context: Tensor = self._networks.context(newest, previous, torch.from_numpy(features).to(self.device))
        return context


def _is_one(frames: Fields) -> bool:
    """Return whether all members are one frame, expanded."""
    return frames.stride(0) == 0
