"""Batches: consecutive frames of weather on the device, and the frame that follows them."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from models.shapes import Features, Fields, Frames


@dataclass(frozen=True)
class Following:
    """One of the time steps that follow a sample: the `features` of its newest frame, and the `target` after it."""

    features: Features
    target: Fields


@dataclass(frozen=True)
class Batch:
    """Samples of training in physical units: `frames`, newest first, the `target` one time step after the newest.

    `features` are those of the date of the newest frame. `following` are the time steps after the target, for rollouts.
    """

    frames: Frames
    target: Fields
    features: Features
    following: tuple[Following, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    def part(self, samples: slice) -> "Batch":
        """Return some of the samples, as views: a micro-batch."""
        return self._map(itemgetter(samples))

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Batch":
        """Return the batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        following = tuple(Following(function(step.features), function(step.target)) for step in self.following)
        frames = tuple(function(frame) for frame in self.frames)
        return Batch(frames, function(self.target), function(self.features), following)
