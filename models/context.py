"""The context of both networks: the two newest frames, static fields and features of the date, normalised."""

import torch
from torch import Tensor, nn

from models.shapes import Context, Features, Fields, StaticFields
from weather.manifest import ModelSpec


class ContextBuilder(nn.Module):
    """Build the context C = [newest frame, previous frame, static fields, features].

    Frames are given in physical units, static fields and features already normalised.
    """

    static: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, static: StaticFields) -> None:
        super().__init__()
        means = torch.tensor([variable.mean for variable in spec.variables], dtype=torch.float32)
        stds = torch.tensor([variable.std for variable in spec.variables], dtype=torch.float32)
        self.register_buffer("mean", means[:, None, None], persistent=False)
        self.register_buffer("std", stds[:, None, None], persistent=False)
        self.register_buffer("static", static, persistent=False)

    def normalise(self, frames: Fields) -> Fields:
        """Return physical fields in normalised units: (x − mean) / std of each variable."""
        return (frames - self.mean) / self.std

    def denormalise(self, frames: Fields) -> Fields:
        """Return normalised fields in physical units, the inverse of `normalise`."""
        return torch.addcmul(self.mean, frames, self.std)

    def forward(self, newest: Fields, previous: Fields, features: Features) -> Context:
        """Return the context of each member."""
        members = newest.shape[0]
        static = self.static.expand(members, *self.static.shape)
        features = features.expand(members, *features.shape[1:])
        return torch.cat([self.normalise(newest), self.normalise(previous), static, features], dim=1)


def variable_signs(spec: ModelSpec) -> tuple[int, ...]:
    """Return −1 for each variable that is a vector component, which changes sign across a pole, else 1."""
    return tuple(-1 if variable.is_vector else 1 for variable in spec.known_variables)


def context_signs(spec: ModelSpec) -> tuple[int, ...]:
    """Return −1 for each channel of the context that changes sign across a pole, else 1."""
    return variable_signs(spec) * 2 + (1,) * (len(spec.static_fields) + len(spec.features))
