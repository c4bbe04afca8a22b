"""What both networks are told: the two newest frames, static fields and features of the date, normalised."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weather.manifest import ModelSpec

Fields = Float[Tensor, "member channel lat lon"]


class Context(nn.Module):
    """Build the context C = [newest frame, previous frame, static fields, features].

    Frames are in physical units. `static` is (field, lat, lon), already normalised.
    """

    static: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, static: Float[Tensor, "field lat lon"]) -> None:
        super().__init__()
        means = torch.tensor([variable.mean for variable in spec.variables], dtype=torch.float32)
        stds = torch.tensor([variable.std for variable in spec.variables], dtype=torch.float32)
        self.register_buffer("mean", means[:, None, None], persistent=False)
        self.register_buffer("std", stds[:, None, None], persistent=False)
        self.register_buffer("static", static, persistent=False)

    def normalise(self, frames: Fields) -> Fields:
        """Return physical fields in normalised units."""
        return (frames - self.mean) / self.std

    def denormalise(self, frames: Fields) -> Fields:
        """Return normalised fields in physical units."""
        return torch.addcmul(self.mean, frames, self.std)

    def forward(
        self, newest: Fields, previous: Fields, features: Float[Tensor, "batch feature lat lon"]
    ) -> Float[Tensor, "member context lat lon"]:
        """Return the context; `features` has one entry a member, or one for all."""
        members = newest.shape[0]
        static = self.static.expand(members, *self.static.shape)
        features = features.expand(members, *features.shape[1:])
        return torch.cat([self.normalise(newest), self.normalise(previous), static, features], dim=1)


def variable_signs(spec: ModelSpec) -> tuple[int, ...]:
    """Return −1 for each variable that reverses across a pole, else 1."""
    return tuple(-1 if variable.is_vector else 1 for variable in spec.known_variables)


def context_signs(spec: ModelSpec) -> tuple[int, ...]:
    """Return the signs of all channels of the context."""
    return variable_signs(spec) * 2 + (1,) * (len(spec.static_fields) + len(spec.features))
