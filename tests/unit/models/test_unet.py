import pytest
import torch
from torch import nn

from models.padding import Globe
from models.unet import UNet
from weather.network_specs import UNetSpec


def _unet(signs: tuple[int, ...] = (1, 1, 1), *, trained: bool = True, poles: bool = False, **config: object) -> UNet:
    spec = UNetSpec.model_validate({"widths": (8, 16), "blocks": 1, "head_channels": 4} | config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = UNet(spec, signs, 2, Globe(17 if poles else 16, 32, has_poles=poles))
        for weight in net.parameters() if trained else ():
            nn.init.normal_(weight, std=0.1)
    return net.eval()


def _fields(channels: int = 3, rows: int = 16) -> torch.Tensor:
    return torch.randn(2, channels, rows, 32, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
@pytest.mark.parametrize("poles", [False, True])
@pytest.mark.parametrize(
    "config", [{"widths": (8,)}, {"widths": (8, 16, 24)}, {"stem": 1}, {"stem": 4}, {"blocks": 3}, {"polar_margin": 0}]
)
def test_the_output_has_the_grid_of_the_input_for_every_configuration(poles: bool, config: dict[str, object]) -> None:
    inputs = _fields(rows=17 if poles else 16)
    output = _unet(poles=poles, **config)(inputs)
    assert output.shape == (2, 2, *inputs.shape[2:])
    assert output.isfinite().all()
    assert output.std() > 0.01


@torch.inference_mode()
def test_an_untrained_network_returns_zeros() -> None:
    assert not _unet(trained=False)(_fields()).any()


@pytest.mark.parametrize("config", [{"widths": (8, 16, 24), "blocks": 2}, {"widths": (8,), "stem": 1}])
def test_every_weight_and_every_input_of_a_convolution_contributes_to_the_output(config: dict[str, object]) -> None:
    net = _unet(embedding_width=8, **config)
    torch.autograd.backward(net(_fields(), torch.randn(2, 8)).square().sum())
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        by_input = weight.grad.transpose(0, 1) if weight.grad.ndim == 4 else weight.grad[None]
        assert by_input.flatten(1).any(dim=1).all(), name


@torch.inference_mode()
def test_every_point_of_every_input_channel_affects_the_output() -> None:
    net, inputs = _unet(), _fields()
    before = net(inputs)
    for channel in range(3):
        for row, column in ((0, 0), (15, 31), (7, 16)):
            changed = inputs.clone()
            changed[0, channel, row, column] += 1
            after = net(changed)
            assert (after[0] - before[0]).abs().max() > 1e-3
            torch.testing.assert_close(after[1], before[1], rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("split", [1, 2])
@pytest.mark.parametrize("config", [{}, {"stem": 1}, {"widths": (8,), "stem": 4}])
def test_precomputed_channels_do_not_change_the_output(split: int, config: dict[str, object]) -> None:
    net, inputs = _unet((1, -1, -1), **config), _fields()
    fixed = net.precompute(inputs[:, split:])
    torch.testing.assert_close(net(inputs[:, :split], fixed=fixed), net(inputs), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_precomputed_channels_of_one_member_serve_all_members() -> None:
    net, inputs = _unet(), _fields()
    inputs[:, 1:] = inputs[:1, 1:]
    fixed = net.precompute(inputs[:1, 1:])
    torch.testing.assert_close(net(inputs[:, :1], fixed=fixed), net(inputs), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_turning_the_globe_by_half_a_circle_turns_the_output() -> None:
    net, inputs = _unet((1, -1, -1)), _fields()
    torch.testing.assert_close(net(inputs.roll(16, -1)), net(inputs).roll(16, -1), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_sign_of_a_channel_matters_at_the_poles() -> None:
    scalar, vector = _unet((1, 1, 1)), _unet((1, 1, -1))
    vector.load_state_dict(scalar.state_dict())
    difference = (scalar(_fields()) - vector(_fields())).abs().amax(dim=(0, 1, 3))
    assert float(difference[[0, -1]].min()) > 3 * float(difference[7:9].max())


@torch.inference_mode()
def test_signs_and_buffers_are_not_weights() -> None:
    """A checkpoint holds the weights alone; signs follow from its specification."""
    net = _unet((1, -1, -1))
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}
