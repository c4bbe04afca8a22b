"""Batches: consecutive frames of weather on the device, and the frame that follows them."""

from dataclasses import dataclass

import torch

from models.shapes import Features, Fields, Frames


@dataclass(frozen=True)
class Batch:
    """Samples of training in physical units: `frames`, newest first, the `target` one time step after the newest.

    `features` are those of the date of the newest frame.
    """

    frames: Frames
    target: Fields
    features: Features

    def __len__(self) -> int:
        return len(self.target)

    def part(self, samples: slice) -> "Batch":
        """Return some of the samples, as views: a micro-batch."""
        return Batch(tuple(frame[samples] for frame in self.frames), self.target[samples], self.features[samples])

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Batch":
        """Return the batch on a device."""
        frames = tuple(frame.to(device, non_blocking=non_blocking) for frame in self.frames)
        target, features = (part.to(device, non_blocking=non_blocking) for part in (self.target, self.features))
        return Batch(frames, target, features)
