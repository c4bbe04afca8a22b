"""The losses of a stage: the likelihood of h and flow matching on its residuals, of one network or of both."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor, nn

from models.flow import flow_matching_loss
from models.networks import Networks
from models.shapes import Context, Features, Fields, Frames, RowWeights, Scalar
from models.warm_start import blend_scale, gaussian_nll, normalised_residual
from training.config import StageKind
from training.data.batch import Batch, Following
from training.draws import FlowDraws


@dataclass(frozen=True)
class StepInputs:
    """Everything that the losses of a step depend on besides the weights: frames, draws, and known outputs of h.

    `draws` are None where p' is not trained by its own loss, `mean` and `std` where h is evaluated in the step.
    Forecasts have `following` time steps, the white `noise` of (sample, member, time step, variable, …) and, if their
    frames get noise, that of (sample, frame, variable, …).
    """

    frames: Frames
    target: Fields
    features: Features
    draws: FlowDraws | None = None
    mean: Fields | None = None
    std: Fields | None = None
    following: tuple[Following, ...] = ()
    noise: Tensor | None = None
    frame_noise: Tensor | None = None

    @classmethod
    def of(
        cls,
        batch: Batch,
        draws: FlowDraws | None,
        outputs: tuple[Fields, Fields] | None,
    ) -> "StepInputs":
        """Return the inputs made of a batch, its draws and the known outputs of h."""
        mean, std = outputs or (None, None)
        return cls(tuple(batch.frames), batch.target, batch.features, draws, mean, std, batch.following)

    @property
    def steps(self) -> tuple[Following, ...]:
        """All time steps of a forecast."""
        return (Following(self.features, self.target), *self.following)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        named: dict[str, Tensor | None] = {f"frame_{age}": frame for age, frame in enumerate(self.frames)}
        named |= {"target": self.target, "features": self.features, "mean": self.mean, "std": self.std}
        for number, step in enumerate(self.following, start=1):
            named |= {f"features_{number}": step.features, f"target_{number}": step.target}
        named |= {"noise": self.noise, "frame_noise": self.frame_noise}
        if self.draws is not None:
            named |= {"x_0": self.draws.x_0, "t": self.draws.t, "warmth": self.draws.warmth}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def map(self, function: Callable[[Tensor], Tensor]) -> "StepInputs":
        """Return the inputs with `function` applied to each tensor."""
        draws = self.draws and FlowDraws(function(self.draws.x_0), function(self.draws.t), function(self.draws.warmth))
        optional = (self.mean, self.std, self.noise, self.frame_noise)
        mean, std, noise, frame_noise = (None if fields is None else function(fields) for fields in optional)
        frames = tuple(function(frame) for frame in self.frames)
        following = tuple(Following(function(step.features), function(step.target)) for step in self.following)
        target, features = function(self.target), function(self.features)
        return StepInputs(frames, target, features, draws, mean, std, following, noise, frame_noise)

    def parts(self, count: int) -> Iterator["StepInputs"]:
        """Yield `count` equal parts of the samples, as views."""
        size = len(self.target) // count
        for part in range(count):
            samples = slice(part * size, (part + 1) * size)
            yield self.map(itemgetter(samples))


class StageLoss(nn.Module):
    """The losses of the networks that `stage` trains, by name: `nll` of h (Eq. 5), `flow_loss` of p' (Algorithm 1).

    The standard deviation of h never has a gradient from `flow_loss`, its mean only if `end_to_end` is set; without
    that care the two networks collude (Scholz & Turner, Appendix E). Losses are float32, also under autocast.
    """

    area_weights: Tensor | None

    def __init__(
        self,
        networks: Networks,
        stage: StageKind,
        *,
        area_weights: RowWeights | None = None,
        end_to_end: bool = False,
    ) -> None:
        super().__init__()
        self.stage, self.end_to_end = stage, end_to_end
        self.context, self.warm_start, self.flow = networks.context, networks.warm_start, networks.flow
        self.register_buffer("area_weights", area_weights, persistent=False)

    def forward(self, inputs: StepInputs) -> Mapping[str, Scalar]:
        """Return the losses on a batch, each a mean over its samples."""
        context: Context = self.context(inputs.frames, inputs.features)
        target = self.context.normalise(inputs.target)
        losses: dict[str, Scalar] = {}
        with torch.no_grad() if self.stage == "flow" else nullcontext():
            mean, std = self._warm_start_outputs(inputs, context)
            if self.stage != "flow":
                losses["nll"] = gaussian_nll(target, mean, std, self.area_weights)
        if self.stage != "warm_start":
            losses["flow_loss"] = self._flow_loss(inputs, context, target, mean, std)
        return losses

    def _warm_start_outputs(self, inputs: StepInputs, context: Context) -> tuple[Fields, Fields]:
        """Return mean and standard deviation of h, in float32."""
        if inputs.mean is not None and inputs.std is not None:
            return inputs.mean, inputs.std
        mean, std = self.warm_start(context)
        return mean.float(), std.float()

    def _flow_loss(self, inputs: StepInputs, context: Context, target: Fields, mean: Fields, std: Fields) -> Scalar:
        assert inputs.draws is not None
        mean, std = mean if self.end_to_end else mean.detach(), std.detach()
        scale = blend_scale(std, inputs.draws.warmth)
        x_1 = normalised_residual(target, mean, scale)
        draws = inputs.draws
        return flow_matching_loss(
            self.flow, draws.x_0, x_1, draws.t, draws.warmth, context, mean, scale, self.area_weights
        )
