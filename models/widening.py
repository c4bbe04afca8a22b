"""Give trained networks further features as inputs without a change of what they compute."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.grid_network import GridNetwork
from models.networks import Networks, build_networks
from storage.errors import ConfigurationError
from weather.manifest import ModelSpec


def add_features(networks: Networks, features: tuple[str, ...]) -> Networks:
    """Return networks that take `features`, those of `networks` and others in any order, on the same device.

    The weights of the others are 0 in both networks, so that the output is the same until they are trained. Raises
    `ConfigurationError` if one of the features that `networks` take is missing.
    """
    spec, device = networks.spec, networks.context.static.device
    missing = [name for name in spec.features if name not in features]
    if missing:
        raise ConfigurationError(
            f"`features` must have those of the checkpoint, {', '.join(spec.features)}, and may have more. "
            f"Got: {', '.join(features) or 'none'}."
        )
    if features == spec.features:
        return networks
    wider = spec.model_copy(update={"features": features})
    with torch.random.fork_rng(devices=[]):
        built = build_networks(wider, networks.context.static.cpu())
    _copy_weights(networks.warm_start, built.warm_start, _list_context(spec), _list_context(wider))
    _copy_weights(networks.flow, built.flow, _list_flow_inputs(spec), _list_flow_inputs(wider))
    return built.to(device).eval()


def _list_context(spec: ModelSpec) -> list[str]:
    """Return a different name for each channel of the context, in order."""
    frames = [f"frame {age}: {name}" for age in range(spec.context_frames) for name in spec.variable_names]
    return [
        *frames,
        *(f"static: {name}" for name in spec.static_fields),
        *(f"feature: {name}" for name in spec.features),
    ]


def _list_flow_inputs(spec: ModelSpec) -> list[str]:
    """Return a different name for each input channel of p', in order."""
    x_t, mean, scale = ([f"{field}: {name}" for name in spec.variable_names] for field in ("x_t", "mean", "scale"))
    return [*x_t, *_list_context(spec), *mean, *scale]


def _copy_weights(source: nn.Module, target: nn.Module, inputs: Sequence[str], wider_inputs: Sequence[str]) -> None:
    """Copy the weights of `source`, whose network has the input channels `inputs`, to `target`; new inputs get 0."""
    assert isinstance(source.net, GridNetwork)
    channels = [wider_inputs.index(name) for name in inputs]
    state = {name: weight.detach().cpu() for name, weight in source.state_dict().items()}
    for name, (others, for_each) in source.net.input_weights.items():
        state[f"net.{name}"] = _spread(state[f"net.{name}"], channels, len(wider_inputs), others, for_each)
    target.load_state_dict(state)


def _spread(weight: Tensor, channels: Sequence[int], num_inputs: int, others: int, for_each: int) -> Tensor:
    """Return a weight with its input channels moved to `channels` of `num_inputs`, and 0 for the rest."""
    wider = weight.new_zeros(weight.shape[0], others + num_inputs * for_each, *weight.shape[2:])
    wider[:, :others] = weight[:, :others]
    moved = others + torch.tensor(channels)[:, None] * for_each + torch.arange(for_each)
    wider[:, moved.flatten()] = weight[:, others:]
    return wider
