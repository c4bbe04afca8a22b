"""From a model's specification to its modules."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.context import Context, context_signs, variable_signs
from models.flow import FlowNet
from models.unet import UNet
from models.warm_start import WarmStart
from weather.manifest import ModelSpec, NetworkSpec


@dataclass(frozen=True)
class Networks:
    """The modules of one model, on one device."""

    spec: ModelSpec
    context: Context
    warm_start: WarmStart
    flow: FlowNet

    def to(self, device: torch.device) -> "Networks":
        """Return the same modules, moved to `device` (modules move in place)."""
        for module in (self.context, self.warm_start, self.flow):
            module.to(device)
        return self

    def eval(self) -> "Networks":
        """Return the same modules, in evaluation mode."""
        for module in (self.context, self.warm_start, self.flow):
            module.eval()
        return self


def build_networks(spec: ModelSpec, static: Float[Tensor, "field lat lon"]) -> Networks:
    """Return freshly initialised networks for `spec`; `static` are its normalised static fields."""
    variables = variable_signs(spec)
    context = context_signs(spec)
    warm_net = _unet(spec, spec.warm_start, context, 2 * len(variables))
    flow_net = _unet(spec, spec.flow, variables + context + variables + (1,) * len(variables), len(variables))
    return Networks(
        spec,
        Context(spec, static),
        WarmStart(warm_net, len(variables), spec.std_floor),
        FlowNet(flow_net, spec.preconditioning),
    )


def _unet(spec: ModelSpec, config: NetworkSpec, signs: tuple[int, ...], out_channels: int) -> UNet:
    grid = spec.grid.grid
    net = UNet(config, signs, out_channels, *grid.shape, grid.has_poles)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return net
