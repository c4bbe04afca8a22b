"""The modules of a checkpoint, built from its specification: context, warm start and flow."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.flow import FlowNet
from models.grid_network import GridNetwork
from models.padding import Geometry, Globe
from models.paper_unet import PaperUNet
from models.shapes import Context, Features, Fields, Frames, StaticFields
from models.unet import UNet
from models.warm_start import WarmStart
from weather.manifest import ModelSpec
from weather.network_specs import NetworkSpec, UNetSpec


class ContextBuilder(nn.Module):
    """Build the context C = [newest frame, the frames before it, static fields, features].

    Frames are given in physical units, static fields and features already normalised.
    """

    static: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, static: StaticFields) -> None:
        super().__init__()
        self.num_frames = spec.context_frames
        means = torch.tensor([variable.mean for variable in spec.variables], dtype=torch.float32)
        stds = torch.tensor([variable.std for variable in spec.variables], dtype=torch.float32)
        self.register_buffer("mean", means[:, None, None], persistent=False)
        self.register_buffer("std", stds[:, None, None], persistent=False)
        self.register_buffer("static", static, persistent=False)

    def normalise(self, frames: Fields) -> Fields:
        """Return physical fields (member, variable, …) in normalised units: (x − mean) / std of each variable."""
        return (frames - self.mean) / self.std

    def denormalise(self, frames: Fields) -> Fields:
        """Return normalised fields in physical units, the inverse of `normalise`."""
        return torch.addcmul(self.mean, frames, self.std)

    def forward(self, frames: Frames, features: Features) -> Context:
        """Return the context C: frames (normalised here), newest first, static fields, features, as channels.

        There must be as many frames as the specification's `context_frames`.
        """
        assert len(frames) == self.num_frames
        members = frames[0].shape[0]
        static = self.static.expand(members, *self.static.shape)
        features = features.expand(members, *features.shape[1:])
        return torch.cat([*map(self.normalise, frames), static, features], dim=1)


@dataclass(frozen=True)
class Networks:
    """The modules of one checkpoint, all on one device."""

    spec: ModelSpec
    context: ContextBuilder
    warm_start: WarmStart
    flow: FlowNet

    def to(self, device: torch.device) -> "Networks":
        """Move the modules to `device` in place and return this object."""
        for module in (self.context, self.warm_start, self.flow):
            module.to(device)
        return self

    def recompute_blocks(self, recompute: bool) -> "Networks":
        """Set whether training computes the blocks of both networks again for their gradients; return this object."""
        self.warm_start.net.recompute = self.flow.net.recompute = recompute
        return self

    def eval(self) -> "Networks":
        """Switch the modules to evaluation mode and return this object."""
        for module in (self.context, self.warm_start, self.flow):
            module.eval()
        return self


def build_networks(spec: ModelSpec, static: StaticFields) -> Networks:
    """Return newly initialised networks for `spec`; weights are drawn from torch's global generator."""
    variables = _variable_signs(spec)
    context = _context_signs(spec)
    globe = Globe(*spec.grid.grid.shape, spec.grid.grid.has_poles)
    warm_net = build_network(spec.warm_start, context, 2 * len(variables), globe)
    flow_signs = variables + context + variables + (1,) * len(variables)
    flow_net = build_network(spec.flow, flow_signs, len(variables), globe)
    return Networks(
        spec,
        ContextBuilder(spec, static),
        WarmStart(warm_net, len(variables), spec.std_floor),
        FlowNet(flow_net, spec.preconditioning),
    )


def build_network(config: NetworkSpec, in_signs: tuple[int, ...], out_channels: int, geometry: Geometry) -> GridNetwork:
    """Return a new network of the kind and shape of `config`; raises `ValueError` if they do not fit the geometry."""
    net: GridNetwork
    if isinstance(config, UNetSpec):
        net = UNet(config, in_signs, out_channels, geometry)
    else:
        net = PaperUNet(config, in_signs, out_channels, geometry)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this overload
    return net


def _variable_signs(spec: ModelSpec) -> tuple[int, ...]:
    """Return −1 for each variable that is a vector component, which changes sign across a pole, else 1."""
    return tuple(-1 if variable.is_vector else 1 for variable in spec.known_variables)


def _context_signs(spec: ModelSpec) -> tuple[int, ...]:
    """Return −1 for each channel of the context that changes sign across a pole, else 1."""
    return _variable_signs(spec) * spec.context_frames + (1,) * (len(spec.static_fields) + len(spec.features))
