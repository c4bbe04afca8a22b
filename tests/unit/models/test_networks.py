import pytest
import torch

from models.networks import Networks
from models.paths import gaussian_velocity
from models.testing import tiny_networks, tiny_spec


def _inputs(networks: Networks, members: int = 2) -> tuple[list[torch.Tensor], torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    grid = networks.spec.grid.grid.shape
    frames = [5 * torch.randn(members, 2, *grid, generator=draw) for _ in range(networks.spec.context_frames)]
    return frames, torch.randn(1, 3, *grid, generator=draw)


def _flow_inputs(networks: Networks, members: int = 2) -> list[torch.Tensor]:
    context = networks.context(*_inputs(networks, members))
    draw = torch.Generator().manual_seed(4)
    x_t, mean = (torch.randn(members, 2, *context.shape[2:], generator=draw) for _ in range(2))
    scale = torch.rand(members, 2, *context.shape[2:], generator=draw) + 0.1
    return [x_t, torch.rand(members, generator=draw), torch.rand(members, generator=draw), context, mean, scale]


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("has_poles", [False, True])
@torch.inference_mode()
def test_rolling_longitude_by_the_stride_commutes_with_both_networks(has_poles: bool, paper: bool) -> None:
    networks = tiny_networks(tiny_spec(17 if has_poles else 16, has_poles=has_poles, paper=paper))
    context = networks.context(*_inputs(networks))
    stride = networks.spec.warm_start.stride
    rolled = [field.roll(stride, -1) for field in networks.warm_start(context)]
    for expected, got in zip(rolled, networks.warm_start(context.roll(stride, -1)), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)
    x_t, t, w, _, mean, scale = _flow_inputs(networks)
    velocity = networks.flow(x_t, t, w, context, mean, scale)
    moved = [field.roll(stride, -1) for field in (context, mean, scale)]
    torch.testing.assert_close(
        networks.flow(x_t.roll(stride, -1), t, w, *moved), velocity.roll(stride, -1), rtol=0, atol=2e-5
    )
    assert not torch.allclose(velocity, velocity.roll(stride, -1), atol=1e-2)


@torch.inference_mode()
@pytest.mark.parametrize("paper", [False, True])
def test_an_untrained_warm_start_is_persistence(paper: bool) -> None:
    networks = tiny_networks(tiny_spec(paper=paper), trained=False)
    frames, features = _inputs(networks)
    mean, std = networks.warm_start(networks.context(frames, features))
    torch.testing.assert_close(networks.context.denormalise(mean), frames[0])
    torch.testing.assert_close(std, torch.full_like(std, float(torch.log(torch.tensor(2.0)))))


@torch.inference_mode()
@pytest.mark.parametrize("paper", [False, True])
def test_an_untrained_flow_is_the_exact_velocity_of_white_noise(paper: bool) -> None:
    networks = tiny_networks(tiny_spec(paper=paper), trained=False)
    x_t, t, *rest = _flow_inputs(networks)
    torch.testing.assert_close(networks.flow(x_t, t, *rest), gaussian_velocity(x_t, t))


@torch.inference_mode()
@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("position", range(6))
def test_the_velocity_depends_on_every_input(position: int, paper: bool) -> None:
    networks = tiny_networks(tiny_spec(paper=paper))
    inputs = _flow_inputs(networks)
    before = networks.flow(*inputs)
    inputs[position] = inputs[position] + 0.3
    assert (networks.flow(*inputs) - before).abs().max() > 1e-4


def test_the_floor_of_the_standard_deviation_stops_the_gradient() -> None:
    networks = tiny_networks(tiny_spec(), trained=False)
    bias = networks.warm_start.net.get_parameter("head.conv.bias")
    with torch.no_grad():
        bias[2:] = -20.0
    _, std = networks.warm_start(networks.context(*_inputs(networks)))
    assert torch.all(std == networks.spec.std_floor)
    std.sum().backward()
    assert bias.grad is not None
    assert torch.all(bias.grad[2:] == 0)


@torch.inference_mode()
@pytest.mark.parametrize("paper", [False, True])
def test_a_member_is_independent_of_the_others(paper: bool) -> None:
    networks = tiny_networks(tiny_spec(paper=paper))
    inputs = _flow_inputs(networks, members=3)
    together = networks.flow(*inputs)
    alone = networks.flow(*(value[1:2] for value in inputs))
    torch.testing.assert_close(alone, together[1:2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_frames", [2, 3, 5])
def test_the_context_is_frames_newest_first_static_features(num_frames: int) -> None:
    networks = tiny_networks(tiny_spec(context_frames=num_frames))
    frames, features = _inputs(networks)
    context = networks.context(frames, features)
    std = torch.tensor([6.0, 5.0])[:, None, None]
    for index, frame in enumerate(frames):
        torch.testing.assert_close(context[:, 2 * index : 2 * index + 2], frame / std)
    rest = context[1, 2 * num_frames :]
    assert torch.equal(rest, torch.cat([networks.context.static, features[0]]))


@torch.inference_mode()
@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("has_poles", [False, True])
def test_precomputed_inputs_give_the_output_of_the_whole_convolution(has_poles: bool, paper: bool) -> None:
    networks = tiny_networks(tiny_spec(17 if has_poles else 16, has_poles=has_poles, paper=paper))
    x_t, t, w, context, mean, scale = _flow_inputs(networks)
    net, embedding = networks.flow.net, networks.flow.embed(t, w)
    fixed = torch.cat([context, mean, scale], dim=1)
    whole = net(torch.cat([x_t, fixed], dim=1), embedding)
    torch.testing.assert_close(net(x_t, embedding, net.precompute(fixed)), whole, rtol=0, atol=1e-5)
    assert not torch.allclose(net(x_t, embedding, net.precompute(0 * fixed)), whole, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("num_frames", [2, 3])
def test_the_networks_see_every_frame_with_the_sign_of_a_vector_across_the_pole(num_frames: int) -> None:
    networks = tiny_networks(tiny_spec(context_frames=num_frames))
    frames, features = _inputs(networks)
    context = networks.context(frames, features)
    assert networks.warm_start.net.signs.flatten().tolist() == [-1.0] * (2 * num_frames) + [1.0] * 4
    before = networks.warm_start(context)[0]
    frames[-1] = frames[-1] + 3
    assert not torch.allclose(networks.warm_start(networks.context(frames, features))[0], before, atol=1e-3)


@pytest.mark.parametrize("paper", [False, True])
def test_recomputing_blocks_leaves_the_gradients_of_both_networks(paper: bool) -> None:
    networks = tiny_networks(tiny_spec(paper=paper))
    weights = [*networks.warm_start.parameters(), *networks.flow.parameters()]
    gradients = []
    for recompute in (False, True):
        networks.recompute_blocks(recompute)
        mean, std = networks.warm_start(networks.context(*_inputs(networks)))
        loss = (mean * std).sum() + networks.flow(*_flow_inputs(networks)).square().sum()
        gradients.append(torch.autograd.grad(loss, weights))
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, kept)


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_states_stay_float32_and_results_are_close(dtype: torch.dtype, paper: bool) -> None:
    """Frames far from zero too: normalisations sum many large values."""
    networks = tiny_networks(tiny_spec(paper=paper))
    x_t, t, w, context, mean, scale = _flow_inputs(networks)
    context, tolerance = context + 20, 0.1 if dtype == torch.bfloat16 else 0.02
    outputs = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype, enabled=enabled), torch.inference_mode():
            outputs.append((*networks.warm_start(context), networks.flow(x_t, t, w, context, mean, scale)))
    for exact, rounded in zip(*outputs, strict=True):
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(rounded, exact, rtol=0.02, atol=tolerance * float(exact.std()))
