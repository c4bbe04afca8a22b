import pytest
import torch

from models.flow import flow_matching_loss
from models.networks import Networks
from models.paths import skewed_times
from models.testing import tiny_networks, tiny_spec


def test_the_training_loss_of_an_untrained_flow_is_that_floor() -> None:
    networks = tiny_networks(tiny_spec(), trained=False)
    draw = torch.Generator().manual_seed(2)
    size, shape = 64, (64, 2, 16, 32)
    x_0, x_1 = (torch.randn(shape, generator=draw) for _ in range(2))
    rest = (torch.zeros(64, 8, 16, 32), torch.zeros(shape), torch.ones(shape))
    times = skewed_times(torch.randn(size, generator=draw))
    with torch.no_grad():
        loss = flow_matching_loss(networks.flow, x_0, x_1, times, torch.ones(size), *rest)
    assert float(loss) == pytest.approx(1.539, abs=0.06)


def _inputs(networks: Networks, members: int = 3) -> tuple[torch.Tensor, ...]:
    """Return x_0, x_1, flow time, warmth, context, mean and scale."""
    draw = torch.Generator().manual_seed(4)
    grid = networks.spec.grid.grid.shape
    x_0, x_1, mean = (torch.randn(members, 2, *grid, generator=draw) for _ in range(3))
    t, warmth = (torch.rand(members, generator=draw) for _ in range(2))
    context = torch.randn(members, 8, *grid, generator=draw)
    return x_0, x_1, t, warmth, context, mean, 0.1 + torch.rand(mean.shape, generator=draw)


@torch.inference_mode()
def test_the_loss_is_the_mean_squared_error_of_the_velocity_at_the_point_of_the_path() -> None:
    networks = tiny_networks(tiny_spec())
    x_0, x_1, t, warmth, *conditions = _inputs(networks)
    errors = []
    for member in range(3):
        one, time = slice(member, member + 1), float(t[member])
        x_t = time * x_1[one] + (1 - time) * x_0[one]
        velocity = networks.flow(x_t, t[one], warmth[one], *(field[one] for field in conditions))
        errors.append(float(((velocity - x_1[one] + x_0[one]) ** 2).mean()))
    loss = flow_matching_loss(networks.flow, x_0, x_1, t, warmth, *conditions)
    assert float(loss) == pytest.approx(sum(errors) / 3, rel=1e-5)


@torch.inference_mode()
def test_without_preconditioning_the_velocity_is_the_output_of_the_network() -> None:
    networks = tiny_networks(tiny_spec().model_copy(update={"preconditioning": "none"}))
    x_t, _, t, warmth, context, mean, scale = _inputs(networks)
    flow = networks.flow
    whole = flow.net(torch.cat([x_t, context, mean, scale], dim=1), flow.embed(t, warmth))
    torch.testing.assert_close(flow(x_t, t, warmth, context, mean, scale), whole, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_an_untrained_flow_without_preconditioning_has_the_loss_of_no_velocity() -> None:
    networks = tiny_networks(tiny_spec().model_copy(update={"preconditioning": "none"}), trained=False)
    x_0, x_1, *rest = _inputs(networks)
    assert float(flow_matching_loss(networks.flow, x_0, x_1, *rest)) == pytest.approx(
        float(((x_1 - x_0) ** 2).mean()), rel=1e-6
    )


@torch.inference_mode()
def test_preconditioning_scales_the_state_to_unit_variance_and_adds_the_velocity_of_white_noise() -> None:
    networks = tiny_networks(tiny_spec())
    x_t, _, t, warmth, context, mean, scale = _inputs(networks)
    flow = networks.flow
    for member, time in enumerate(t.tolist()):
        one, kappa = slice(member, member + 1), (time**2 + (1 - time) ** 2) ** 0.5
        inputs = torch.cat([x_t[one] / kappa, context[one], mean[one], scale[one]], dim=1)
        output = flow.net(inputs, flow.embed(t[one], warmth[one]))
        expected = (2 * time - 1) / kappa**2 * x_t[one] + output / kappa
        got = flow(x_t[one], t[one], warmth[one], context[one], mean[one], scale[one])
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_flow_time_and_warmth_have_embeddings_of_their_own() -> None:
    flow = tiny_networks(tiny_spec()).flow
    low, high = torch.tensor([0.2]), torch.tensor([0.8])
    assert not torch.allclose(flow.embed(low, high), flow.embed(high, low), atol=1e-4)
    torch.testing.assert_close(flow.embed(low, high), flow.time_embedding(low) + flow.warmth_embedding(high))


def test_the_loss_reaches_every_weight_of_the_network() -> None:
    networks = tiny_networks(tiny_spec())
    torch.autograd.backward(flow_matching_loss(networks.flow, *_inputs(networks)))
    without = [
        name for name, weight in networks.flow.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert without == []
