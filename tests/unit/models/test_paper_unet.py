import pytest
import torch
from torch import nn

from models.flow import FlowNet
from models.grid_network import GridNetwork
from models.networks import build_network
from models.padding import Globe, Plane
from weather.network_specs import PaperFlowSpec, PaperWarmStartSpec

TINY_H = PaperWarmStartSpec(kind="paper_warm_start", widths=(8, 16, 24), norm_groups=4, attention_levels=(1,))
TINY_P = PaperFlowSpec(
    kind="paper_flow", widths=(8, 16, 24), norm_groups=4, attention_levels=(1,), embedding_width=16, dropout=0.0
)
GLOBE = Globe(16, 32, has_poles=False)
ERA5 = Globe(121, 240, has_poles=True)


def _net(
    config: PaperWarmStartSpec | PaperFlowSpec = TINY_H,
    signs: tuple[int, ...] = (1, -1, -1),
    *,
    trained: bool = True,
    geometry: Globe | Plane = GLOBE,
) -> GridNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_network(config, signs, 2, geometry)
        for weight in net.parameters() if trained else ():
            with torch.no_grad():
                weight.add_(0.05 * torch.randn(weight.shape))
    return net.eval()


def _fields(channels: int = 3, rows: int = 16) -> torch.Tensor:
    return torch.randn(2, channels, rows, 32, generator=torch.Generator().manual_seed(1))


def _embedding(net: GridNetwork) -> torch.Tensor | None:
    width = net.embedding_width
    return torch.randn(2, width, generator=torch.Generator().manual_seed(2)) if width else None


def _count(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


def _conv(inputs: int, outputs: int, size: int = 3) -> int:
    return inputs * outputs * size**2 + outputs


def _residual(inputs: int, outputs: int, embedding: int) -> int:
    skip = _conv(inputs, outputs, 1) if inputs != outputs else 0
    norms, modulation = 2 * inputs + 2 * outputs, _conv(embedding, 2 * outputs, 1)
    return norms + _conv(inputs, outputs) + _conv(outputs, outputs) + modulation + skip


def _mlp(sinusoids: int, width: int) -> int:
    return _conv(sinusoids, width, 1) + _conv(width, width, 1)


def _count_warm_start(a: int, b: int, c: int, channels: tuple[int, int], attention_levels: tuple[int, ...]) -> int:
    """Count the parameters of h with three levels of widths `a`, `b`, `c` and two blocks each, block by block."""
    entering = [(a, a), (a, a), (a, b), (b, b), (b, c), (c, c), (c, c), (c, c)]  # down, and the middle
    entering += [(c + c, c), (c + c, c), (c + b, c), (c + b, b), (b + b, b), (b + a, b)]  # up, with skip connections
    entering += [(b + a, a), (a + a, a), (a + a, a)]
    blocks = sum(_residual(inputs, outputs, 4 * a) for inputs, outputs in entering)
    resampling = sum(_conv(width, width) for width in (a, b, c, b))
    attention = sum(5 * (4 * _conv(width, width, 1) + 2 * width) for width in ((b, c) if attention_levels else ()))
    attention += 4 * _conv(c, c, 1)
    return _conv(channels[0], a) + _mlp(a, 4 * a) + blocks + resampling + attention + 2 * a + _conv(a, channels[1])


def _count_flow(blocks: int, channels: tuple[int, int], attended: int) -> int:
    """Count the parameters of p' with 256 channels on three levels, without the embedding of the warmth."""
    down, up = 3 * blocks + 2, 3 * (blocks + 1)
    attention = (attended + 1) * (2 * 256 + _conv(256, 768, 1) + _conv(256, 256, 1))
    residual = down * _residual(256, 256, 512) + up * _residual(512, 256, 512)
    return _conv(channels[0], 256) + _mlp(128, 512) + residual + attention + 512 + _conv(256, channels[1])


@pytest.mark.parametrize(
    ("widths", "levels", "channels", "geometry", "expected", "millions"),
    [
        ((128, 256, 512), (), (9, 4), ERA5, _count_warm_start(128, 256, 512, (9, 4), ()), 60.40),
        ((64, 128, 256), (1, 2), (4, 6), Plane(32, 32), _count_warm_start(64, 128, 256, (4, 6), (1, 2)), 16.77),
    ],
)
def test_h_has_the_parameters_of_the_paper(
    widths: tuple[int, ...],
    levels: tuple[int, ...],
    channels: tuple[int, int],
    geometry: Globe | Plane,
    expected: int,
    millions: float,
) -> None:
    spec = PaperWarmStartSpec(kind="paper_warm_start", widths=widths, attention_levels=levels)
    with torch.device("meta"):
        net = build_network(spec, (1,) * channels[0], channels[1], geometry)
    assert _count(net) == expected
    assert round(expected / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("blocks", "levels", "channels", "geometry", "expected", "millions"),
    [
        (2, (), (15, 2), ERA5, _count_flow(2, (15, 2), 0), 31.7),
        (4, (1,), (13, 3), Plane(64, 64), _count_flow(4, (13, 3), 9), 55.7),
    ],
)
def test_p_has_the_parameters_of_the_paper_and_its_own_embedding_of_the_warmth(
    blocks: int,
    levels: tuple[int, ...],
    channels: tuple[int, int],
    geometry: Globe | Plane,
    expected: int,
    millions: float,
) -> None:
    spec = PaperFlowSpec(kind="paper_flow", blocks=blocks, attention_levels=levels)
    with torch.device("meta"):
        flow = FlowNet(build_network(spec, (1,) * channels[0], channels[1], geometry), "none")
    warmth = _count(flow.warmth_embedding)
    assert _count(flow) - warmth == expected
    assert round(expected / 1e6, 1) == millions
    assert round(warmth / 1e6, 2) == 0.33


def test_the_default_kinds_are_those_of_the_weather_experiment() -> None:
    h, p = PaperWarmStartSpec(kind="paper_warm_start"), PaperFlowSpec(kind="paper_flow")
    assert (h.widths, h.blocks, h.head_width, h.norm_groups, h.attention_levels) == ((128, 256, 512), 2, 8, 32, ())
    assert (p.widths, p.blocks, p.dropout, p.norm_groups, p.attention_levels) == ((256, 256, 256), 2, 0.3, 32, ())
    assert h.stride == p.stride == 4


@torch.inference_mode()
@pytest.mark.parametrize("config", [TINY_H, TINY_P])
@pytest.mark.parametrize("poles", [False, True])
def test_the_output_has_the_grid_of_the_input(config: PaperWarmStartSpec | PaperFlowSpec, poles: bool) -> None:
    rows = 17 if poles else 16
    net = _net(config, geometry=Globe(rows, 32, has_poles=poles))
    output = net(_fields(rows=rows), _embedding(net))
    assert output.shape == (2, 2, rows, 32)
    assert output.std() > 0.01
    assert not _net(config, trained=False)(_fields(), _embedding(net)).any()


@torch.inference_mode()
@pytest.mark.parametrize("config", [TINY_H, TINY_P])
@pytest.mark.parametrize("shift", [4, 16])
def test_turning_the_globe_by_the_stride_turns_the_output(
    config: PaperWarmStartSpec | PaperFlowSpec, shift: int
) -> None:
    net = _net(config)
    inputs, embedding = _fields(), _embedding(net)
    expected = net(inputs, embedding).roll(shift, -1)
    torch.testing.assert_close(net(inputs.roll(shift, -1), embedding), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(net(inputs, embedding), expected, atol=1e-2)


@pytest.mark.parametrize("config", [TINY_H, TINY_P])
def test_every_weight_contributes_to_the_output(config: PaperWarmStartSpec | PaperFlowSpec) -> None:
    """But for the bias of the keys, which attention does not notice, and the sines of the constant flow time 0."""
    net = _net(config)
    torch.autograd.backward(net(_fields(), _embedding(net)).square().sum())
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        if name == "constant.mlp.0.weight":
            sines = weight.shape[1] // 2
            assert weight.grad[:, :sines].any()
            assert not weight.grad[:, sines:].any()
        elif not name.endswith("project.bias"):
            assert weight.grad.flatten(1).any(dim=1).all() if weight.ndim > 1 else weight.grad.any(), name


@pytest.mark.parametrize("config", [TINY_H, TINY_P])
def test_recomputing_blocks_changes_neither_output_nor_gradients(
    config: PaperWarmStartSpec | PaperFlowSpec,
) -> None:
    gradients = []
    for recompute in (False, True):
        net = _net(config)
        net.recompute = recompute
        torch.autograd.backward(net(_fields(), _embedding(net)).square().sum())
        gradients.append([weight.grad for weight in net.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed)


@pytest.mark.parametrize("geometry", [ERA5, Globe(120, 240, has_poles=False), Globe(17, 32, has_poles=True)])
def test_padding_and_cropping_leave_every_row_where_it_was(geometry: Globe) -> None:
    net = _net(geometry=geometry)
    inputs = torch.randn(1, 3, geometry.num_lat, geometry.num_lon)
    padded = net.pad(inputs)
    assert torch.equal(net.padding.crop(padded), inputs)
    assert padded.shape[2] % 4 == 0
    assert padded.shape[3] == geometry.num_lon, "longitudes are periodic in each convolution instead"


def test_a_change_of_a_row_changes_that_row_most() -> None:
    """Input and output are in register: blocks return their input, and convolutions have only their central weights."""
    config = PaperFlowSpec(kind="paper_flow", widths=(8,), blocks=1, norm_groups=4, embedding_width=16)
    net = _net(config, trained=False, geometry=Globe(17, 32, has_poles=True))
    with torch.no_grad():
        for name in ("stem", "head"):
            weight = net.get_parameter(f"{name}.conv.weight").zero_()
            weight[:, :, 1, 1] = torch.randn(weight.shape[:2], generator=torch.Generator().manual_seed(3))
        inputs, embedding = _fields(rows=17), _embedding(net)
        before = net(inputs, embedding)
        for row in (0, 1, 8, 15, 16):
            changed = inputs.clone()
            changed[:, :, row] += 10
            rows = (net(changed, embedding) - before).square().sum(dim=(0, 1, 3))
            assert int(rows.argmax()) == row


def test_dropout_is_active_in_training_alone() -> None:
    net = _net(TINY_P.model_copy(update={"dropout": 0.3}))
    inputs, embedding = _fields(), _embedding(net)
    assert torch.equal(net(inputs, embedding), net(inputs, embedding))
    net.train()
    assert not torch.equal(net(inputs, embedding), net(inputs, embedding))


@torch.inference_mode()
@pytest.mark.parametrize("config", [TINY_H, TINY_P])
def test_a_plane_does_not_wrap_around_and_has_no_poles(config: PaperWarmStartSpec | PaperFlowSpec) -> None:
    net, other = (_net(config, signs, geometry=Plane(16, 32)) for signs in ((1, 1, 1), (1, -1, -1)))
    inputs, embedding = _fields(), _embedding(net)
    assert torch.equal(net(inputs, embedding), other(inputs, embedding))
    assert not torch.allclose(net(inputs.roll(4, -1), embedding), net(inputs, embedding).roll(4, -1), atol=1e-2)


def test_an_image_must_fit_the_stride() -> None:
    with pytest.raises(ValueError, match=r"multiples of the total stride 4\. Got: 30 × 32"):
        _net(geometry=Plane(30, 32))
