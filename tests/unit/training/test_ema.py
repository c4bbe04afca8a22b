import pytest
import torch
from torch import nn

from training.ema import Ema


def _update(ema: Ema, step: int) -> None:
    ema.prepare(step)
    ema.update()


def _net() -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(3, 1)


def _set(net: nn.Linear, value: float) -> None:
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(value)


def test_the_average_follows_the_weights_by_its_formula() -> None:
    net = _net()
    ema = Ema(net, 0.95)
    expected = net.weight.detach().clone()
    for step in range(300):
        with torch.no_grad():
            net.weight.copy_(torch.full_like(net.weight, float(step)))
        _update(ema, step)
        decay = min(0.95, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(ema.net.get_parameter("weight"), expected)


def test_the_average_starts_as_a_copy_that_does_not_follow_the_network() -> None:
    net = _net()
    ema = Ema(net, 0.9)
    before = net.weight.detach().clone()
    _set(net, 5.0)
    assert torch.equal(ema.net.get_parameter("weight"), before)


def test_the_average_is_in_evaluation_mode_and_takes_no_gradient() -> None:
    ema = Ema(_net().train(), 0.9)
    assert not ema.net.training
    assert not any(weight.requires_grad for weight in ema.net.parameters())


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_of_constant_weights_is_these_weights(decay: float) -> None:
    net = _net()
    _set(net, 3.0)
    ema = Ema(net, decay)
    for step in range(20):
        _update(ema, step)
    torch.testing.assert_close(ema.net.get_parameter("bias"), torch.full((1,), 3.0))


def test_without_decay_the_average_is_the_newest_weights() -> None:
    net = _net()
    ema = Ema(net, 0.0)
    _set(net, 7.0)
    _update(ema, 0)
    assert torch.equal(ema.net.get_parameter("weight"), net.weight)


def test_initial_weights_are_forgotten_sooner_than_the_decay_alone_would() -> None:
    """After n updates at decay d = (1+k)/(10+k) their weight is the product of d, far below 0.9999ⁿ."""
    net = _net()
    _set(net, 1.0)
    ema = Ema(net, 0.9999)
    _set(net, 0.0)
    expected = 1.0
    for step in range(100):
        _update(ema, step)
        expected *= (1 + step) / (10 + step)
    assert float(ema.net.get_parameter("bias")) == pytest.approx(expected, rel=1e-4)
    assert expected < 1e-6 < 0.9999**100


def test_updating_the_average_does_not_change_the_network() -> None:
    net = _net()
    ema, before = Ema(net, 0.9), net.weight.detach().clone()
    _set(ema.net, 2.0)
    _update(ema, 3)
    assert torch.equal(net.weight, before)


def test_without_warm_up_the_decay_is_the_configured_one_from_the_first_step() -> None:
    net = _net()
    _set(net, 1.0)
    ema = Ema(net, 0.75, warmup=False)
    _set(net, 0.0)
    for step in range(3):
        _update(ema, step)
    assert float(ema.net.get_parameter("bias")) == pytest.approx(0.75**3)
