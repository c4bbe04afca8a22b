"""One time step of the forecast: Algorithm 2 of the paper."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from models.execution import Execution
from models.grid_network import FixedInputs
from models.networks import Networks
from models.shapes import Context, Fields, Frames, Warmth
from models.solvers import evaluation_times, power_grid, solve
from models.warm_start import blend_scale, restore
from weather.features import feature_fields
from weather.manifest import Sampling

EAGER = Execution()


@runtime_checkable
class EvaluationObserver(Protocol):
    """Receives a call before each network evaluation; it may end the step by raising an exception."""

    def before_evaluation(self, network: str, members: int) -> None:
        """Handle the coming evaluation of `network`, `warm_start` or `flow`, for `members` members."""


class FlowField:
    """The vector field of the flow network for one context; counts its evaluations in `nfe`.

    `embeddings` maps each flow time of the solver to a tensor of that time and its embedding.
    """

    def __init__(
        self, velocity: Callable[..., Fields], embeddings: dict[float, tuple[Tensor, Tensor]], fixed: FixedInputs
    ) -> None:
        self._velocity, self._embeddings, self._fixed = velocity, embeddings, fixed
        self.nfe = 0

    def __call__(self, x_t: Fields, t: float) -> Fields:
        """Return the velocity at `x_t` and flow time `t`, and add 1 to `nfe`.

        Raises `KeyError` unless `t` is one of the solver's times, the keys of `embeddings`.
        """
        self.nfe += 1
        return self._velocity(x_t, *self._embeddings[t], self._fixed)


class Forecaster:
    """Advance states by one time step with the networks of a checkpoint."""

    def __init__(
        self,
        networks: Networks,
        sampling: Sampling,
        device: torch.device,
        execution: Execution = EAGER,
        observer: EvaluationObserver | None = None,
    ) -> None:
        self.spec = networks.spec
        self.sampling = sampling
        self.device = device
        self._networks = networks
        self._execution, self._observer = execution, observer
        self._times = power_grid(sampling.num_steps, sampling.power)
        self._compiled_warm_start = execution.compile(networks.warm_start, device)
        self._compiled_velocity = execution.compile(networks.flow.velocity, device)
        self._embeddings: dict[float, tuple[Tensor, Tensor]] = {}

    @torch.inference_mode()
    def step(self, frames: Frames, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after the newest of `frames`, whose time is `valid_time`.

        Frames are newest first, as many as the specification's `context_frames`. Frames and states are float32 on the
        forecaster's device in physical units; `noise` is standard normal of their shape.
        Where all members share their frames (tensors expanded from one), the warm start is evaluated once for all.
        Source: Scholz & Turner, Algorithm 2.
        """
        context, mean, std = self._evaluate_warm_start(frames, valid_time)
        warmth = torch.full((1,), self.sampling.warmth, dtype=mean.dtype, device=self.device)
        scale = blend_scale(std, warmth)
        field = FlowField(self._evaluate_flow, self._embed_times(warmth), self._precompute(context, mean, scale))
        x_1 = solve(self.sampling.solver, field, noise, self._times)
        assert field.nfe == self.sampling.nfe
        return self._networks.context.denormalise(restore(x_1, mean, scale))

    @torch.inference_mode()
    def warm_start(self, frames: Frames, valid_time: np.datetime64) -> tuple[Fields, Fields]:
        """Return the warm start's own mean and standard deviation one time step after `frames`, in physical units."""
        _, mean, std = self._evaluate_warm_start(frames, valid_time)
        return self._networks.context.denormalise(mean), std * self._networks.context.std

    def _evaluate_warm_start(self, frames: Frames, valid_time: np.datetime64) -> tuple[Context, Fields, Fields]:
        """Return context, mean and standard deviation of each member, in normalised units."""
        members, shared = frames[0].shape[0], all(map(_is_expanded, frames))
        if shared:
            frames = [frame[:1] for frame in frames]
        context = self._build_context(frames, valid_time)
        network = self._networks.warm_start if shared else self._compiled_warm_start
        mean, std = self._evaluate("warm_start", len(context), network, context)
        return (
            context.expand(members, -1, -1, -1),
            mean.expand(members, -1, -1, -1),
            std.expand(members, -1, -1, -1),
        )

    def _evaluate_flow(self, x_t: Fields, t: Tensor, embedding: Tensor, fixed: FixedInputs) -> Fields:
        velocity: Tensor = self._evaluate("flow", len(x_t), self._compiled_velocity, x_t, t, embedding, fixed)
        return velocity

    def _evaluate(self, name: str, members: int, network: Callable[..., Any], *arguments: Any) -> Any:
        if self._observer is not None:
            self._observer.before_evaluation(name, members)
        with self._execution.autocast(self.device):
            return network(*arguments)

    def _precompute(self, context: Context, mean: Fields, scale: Fields) -> FixedInputs:
        with self._execution.autocast(self.device):
            return self._networks.flow.precompute(context, mean, scale)

    def _embed_times(self, warmth: Warmth) -> dict[float, tuple[Tensor, Tensor]]:
        """Return tensor and embedding of each flow time of a step; all steps share them."""
        if not self._embeddings:
            for t in evaluation_times(self.sampling.solver, self._times):
                time = torch.full((1,), t, dtype=warmth.dtype, device=self.device)
                self._embeddings[t] = time, self._networks.flow.embed(time, warmth)
        return self._embeddings

    def _build_context(self, frames: Frames, valid_time: np.datetime64) -> Context:
        features = feature_fields(self.spec.features, self.spec.grid.grid, valid_time)[None]
        context: Tensor = self._networks.context(frames, torch.from_numpy(features).to(self.device))
        return context


def _is_expanded(frame: Fields) -> bool:
    """Return whether all members have one frame, expanded without a copy."""
    return frame.stride(0) == 0
