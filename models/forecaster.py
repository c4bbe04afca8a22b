"""One time step of the forecast: Algorithm 2 of the paper."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from models.damping import Damping
from models.execution import Execution
from models.graphs import Graphs, RecordedFunction
from models.grid_network import FixedInputs
from models.networks import Networks
from models.shapes import Context, Features, Fields, Frames, Warmth
from models.solvers import evaluation_times, power_grid, solve
from models.valid_range import ValidRange
from models.warm_start import blend_scale, restore
from weather.damping_spec import DampingSpec
from weather.features import feature_series
from weather.manifest import ModelSpec, Sampling
from weather.noise_colour import NoiseColour

EAGER = Execution()

_FEATURES_AHEAD = 8
"""Dates whose features a GPU loads at once."""


@runtime_checkable
class EvaluationObserver(Protocol):
    """Receives a call before each network evaluation; it may end the step by raising an exception."""

    def before_evaluation(self, network: str, members: int) -> None:
        """Handle the coming evaluation of `network`, `warm_start` or `flow`, for `members` members."""

    def before_step(self, warm_start: int, flow: int) -> None:
        """Handle the coming time step, which is launched at once, and its evaluations, each for one member."""


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
    """Advance states by one time step with the networks of a checkpoint.

    With `graphs`, whole time steps are recorded and launched at once; the observer is then called before each of them
    rather than before each evaluation.
    """

    def __init__(
        self,
        networks: Networks,
        sampling: Sampling,
        device: torch.device,
        execution: Execution = EAGER,
        observer: EvaluationObserver | None = None,
        graphs: Graphs | None = None,
    ) -> None:
        self.device = device
        self.execution = execution
        self._networks, self._observer = networks, observer
        self._compiled_warm_start = execution.compile(networks.warm_start)
        self._compiled_velocity = execution.compile(networks.flow.velocity)
        self._valid_range = ValidRange(networks.spec.known_variables, device)
        self._features: dict[int, Features] = {}
        self._set_damping(networks.spec)
        self._set_sampling(sampling, graphs)

    def with_sampling(self, sampling: Sampling, graphs: Graphs | None = None) -> "Forecaster":
        """Return a forecaster with another sampler, and graphs of its own; both share what is compiled."""
        other = copy.copy(self)
        other._set_sampling(sampling, graphs)
        return other

    def with_colour(self, colour: NoiseColour | None) -> "Forecaster":
        """Return a forecaster whose rollouts have noise of another colour; both share what is compiled and recorded."""
        other = copy.copy(self)
        other.spec = self.spec.model_copy(update={"colour": colour})
        return other

    def with_damping(self, damping: DampingSpec | None) -> "Forecaster":
        """Return a forecaster whose steps end with another damping, without graphs; both share what is compiled."""
        other = copy.copy(self)
        other._set_damping(self.spec.model_copy(update={"damping": damping}))
        other._set_sampling(self.sampling, None)
        return other

    def with_observer(self, observer: EvaluationObserver | None) -> "Forecaster":
        """Return this forecaster with another observer; both share what is compiled and recorded."""
        other = copy.copy(self)
        other._observer = observer
        return other

    def _set_damping(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._damping = None if spec.damping is None else Damping(spec.damping, spec.grid.grid, self.device)

    def _set_sampling(self, sampling: Sampling, graphs: Graphs | None) -> None:
        self.sampling = sampling
        self._times = power_grid(sampling.num_steps, sampling.power)
        self._embeddings: dict[float, tuple[Tensor, Tensor]] = {}
        self._recorded: RecordedFunction | None = None
        if graphs is not None:
            advance = self.with_observer(None)._advance
            self._recorded = RecordedFunction("Time steps", lambda *inputs: (advance(*inputs),), graphs)

    @torch.inference_mode()
    def step(self, frames: Frames, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after the newest of `frames`, whose time is `valid_time`.

        Frames are newest first, as many as the specification's `context_frames`. Frames and states are float32 on the
        forecaster's device in physical units; `noise` is standard normal of their shape, or coloured. A member that is
        not finite or leaves the valid range is lost: its states are NaN. They are damped as the specification says.
        Where all members share their frames (tensors expanded from one), the warm start is evaluated once for all.
        Source: Scholz & Turner, Algorithm 2.
        """
        if all(map(_is_expanded, frames)):
            frames = [frame[:1] for frame in frames]
        if not noise.is_inference():
            noise = noise.clone()  # else networks are compiled twice: also for a first x_t that is no inference tensor
        inputs = (*frames, self._load_features(valid_time), noise)
        if self._recorded is None:
            return self._advance(*inputs)
        if self._observer is not None:
            self._observer.before_step(len(frames[0]), self.sampling.nfe * len(noise))
        return self._recorded(*inputs)[0]

    def discard_recordings(self) -> None:
        """Forget the recorded steps of all batch sizes, which frees their memory."""
        if self._recorded is not None:
            self._recorded.discard()

    @torch.inference_mode()
    def warm_start(self, frames: Frames, valid_time: np.datetime64) -> tuple[Fields, Fields]:
        """Return the warm start's own mean and standard deviation one time step after `frames`, in physical units."""
        members = len(frames[0])
        if all(map(_is_expanded, frames)):
            frames = [frame[:1] for frame in frames]
        _, mean, std = self._evaluate_warm_start(frames, self._load_features(valid_time), members)
        return self._networks.context.denormalise(mean), std * self._networks.context.std

    def damp(self, states: Fields) -> Fields:
        """Return states after the damping of the specification, which each step ends with; unchanged without any."""
        return states if self._damping is None else self._damping(states)

    def _advance(self, *inputs: Tensor) -> Fields:
        """Return the states after one time step; `inputs` are its frames, features and noise, all on the device.

        The frames may be of one member, which all share. The call does not wait for the device.
        """
        *frames, features, noise = inputs
        context, mean, std = self._evaluate_warm_start(frames, features, len(noise))
        warmth = torch.full((1,), self.sampling.warmth, dtype=mean.dtype, device=self.device)
        scale = blend_scale(std, warmth)
        field = FlowField(self._evaluate_flow, self._embed_times(warmth), self._precompute(context, mean, scale))
        x_1 = solve(self.sampling.solver, field, noise, self._times)
        assert field.nfe == self.sampling.nfe
        states = self._networks.context.denormalise(restore(x_1, mean, scale))
        return self._valid_range.mask_lost_members(self.damp(states))

    def _evaluate_warm_start(
        self, frames: Sequence[Tensor], features: Features, members: int
    ) -> tuple[Context, Fields, Fields]:
        """Return context, mean and standard deviation of each member, in normalised units.

        The frames are those of each member, or of one for all.
        """
        context: Context = self._networks.context(frames, features)
        network = self._compiled_warm_start if len(context) == members else self._networks.warm_start
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
        with self.execution.autocast(self.device, keep_casts=False):
            return network(*arguments)

    def _precompute(self, context: Context, mean: Fields, scale: Fields) -> FixedInputs:
        with self.execution.autocast(self.device, keep_casts=False):
            return self._networks.flow.precompute(context, mean, scale)

    def _embed_times(self, warmth: Warmth) -> dict[float, tuple[Tensor, Tensor]]:
        """Return tensor and embedding of each flow time of a step; all steps share them."""
        if not self._embeddings:
            for t in evaluation_times(self.sampling.solver, self._times):
                time = torch.full((1,), t, dtype=warmth.dtype, device=self.device)
                self._embeddings[t] = time, self._networks.flow.embed(time, warmth)
        return self._embeddings

    def _load_features(self, valid_time: np.datetime64) -> Features:
        """Return the features of a date on the device.

        A GPU loads those of the next dates with them, by one copy that the host does not wait for.
        """
        key = _seconds(valid_time)
        if key not in self._features:
            is_cuda = self.device.type == "cuda"
            times = valid_time + self.spec.time_step * np.arange(_FEATURES_AHEAD if is_cuda else 1)
            series = torch.from_numpy(feature_series(self.spec.features, self.spec.grid.grid, times))
            loaded = (series.pin_memory() if is_cuda else series).to(self.device, non_blocking=True)
            self._features = dict(zip(map(_seconds, times), loaded.split(1), strict=True))
        return self._features[key]


def _seconds(time: np.datetime64) -> int:
    """Return the whole seconds since 1970: equal dates of different units have different hashes in some versions."""
    return int(time.astype("M8[s]").astype(np.int64))


def _is_expanded(frame: Fields) -> bool:
    """Return whether all members have one frame, expanded without a copy."""
    return frame.stride(0) == 0
