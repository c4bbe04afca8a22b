"""The networks of a model, built from its specification."""

from dataclasses import dataclass

import torch

from models.context import ContextBuilder, context_signs, variable_signs
from models.flow import FlowNet
from models.shapes import StaticFields
from models.unet import UNet
from models.warm_start import WarmStart
from weather.manifest import ModelSpec, NetworkSpec


@dataclass(frozen=True)
class Networks:
    """The modules of one model, all on one device."""

    spec: ModelSpec
    context: ContextBuilder
    warm_start: WarmStart
    flow: FlowNet

    def to(self, device: torch.device) -> "Networks":
        """Move the modules to `device` in place and return this object."""
        for module in (self.context, self.warm_start, self.flow):
            module.to(device)
        return self

    def eval(self) -> "Networks":
        """Switch the modules to evaluation mode and return this object."""
        for module in (self.context, self.warm_start, self.flow):
            module.eval()
        return self


def build_networks(spec: ModelSpec, static: StaticFields) -> Networks:
    """Return newly initialised networks for `spec`; weights are drawn from torch's global generator."""
    variables = variable_signs(spec)
    context = context_signs(spec)
    warm_net = _build_unet(spec, spec.warm_start, context, 2 * len(variables))
    flow_signs = variables + context + variables + (1,) * len(variables)
    flow_net = _build_unet(spec, spec.flow, flow_signs, len(variables))
    return Networks(
        spec,
        ContextBuilder(spec, static),
        WarmStart(warm_net, len(variables), spec.std_floor),
        FlowNet(flow_net, spec.preconditioning),
    )


def _build_unet(spec: ModelSpec, config: NetworkSpec, signs: tuple[int, ...], out_channels: int) -> UNet:
    grid = spec.grid.grid
    net = UNet(config, signs, out_channels, *grid.shape, grid.has_poles)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this overload
    return net
