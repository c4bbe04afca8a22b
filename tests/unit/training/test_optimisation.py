import itertools

import pytest
import torch

from tests.unit.training.toy import OPTIMISER, build_step, inputs_of, linear
from training.optimisation import NetworkOptimiser, learning_rate
from training.optimiser_config import OptimiserConfig


def test_the_learning_rate_rises_then_falls_to_the_final_rate() -> None:
    config = OptimiserConfig(steps=100, learning_rate=1.0, final_learning_rate=0.1, warmup_steps=10)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)


def test_a_constant_learning_rate_stays_after_its_warm_up() -> None:
    config = OptimiserConfig(steps=20, learning_rate=0.3, warmup_steps=3, schedule="constant")
    rates = [learning_rate(config, step) for step in range(20)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert set(rates[3:]) == {0.3}


@pytest.mark.parametrize("warmup", [0, 1])
def test_without_warm_up_the_first_step_has_the_whole_learning_rate(warmup: int) -> None:
    config = OptimiserConfig(steps=10, learning_rate=0.5, final_learning_rate=0.0, warmup_steps=warmup)
    assert learning_rate(config, 0) == 0.5


def test_a_warm_up_longer_than_the_training_only_rises() -> None:
    config = OptimiserConfig(steps=4, learning_rate=1.0, warmup_steps=10)
    assert [learning_rate(config, step) for step in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_the_learning_rate_is_continuous_and_stays_between_its_limits() -> None:
    config = OptimiserConfig(steps=300, learning_rate=1.0, final_learning_rate=0.2, warmup_steps=50)
    rates = [learning_rate(config, step) for step in range(301)]
    assert max(abs(after - before) for before, after in itertools.pairwise(rates)) <= 0.0201
    assert max(rates) == 1.0
    assert min(rates[50:]) == pytest.approx(0.2)


def test_steps_are_those_of_adamw_with_the_learning_rate_of_each_step() -> None:
    """The reference is PyTorch's plain implementation, one weight at a time."""
    step, net = build_step(), linear()
    reference = torch.optim.AdamW(
        net.parameters(), betas=OPTIMISER.betas, weight_decay=OPTIMISER.weight_decay, foreach=False, fused=False
    )
    for number in range(6):
        step.prepare(number)
        step(inputs_of(number))
        x = inputs_of(number).frames[0].flatten(1)
        reference.zero_grad()
        torch.autograd.backward(((net(x) - x.sum(1, keepdim=True)) ** 2).mean())
        torch.nn.utils.clip_grad_norm_(net.parameters(), OPTIMISER.clip_norm)
        reference.param_groups[0]["lr"] = learning_rate(OPTIMISER, number)
        reference.step()
    for expected, got in zip(net.parameters(), step.optimisers["warm_start"].net.parameters(), strict=True):
        torch.testing.assert_close(got, expected)


def test_gradients_are_clipped_to_their_norm() -> None:
    """Adam's updates do not depend on the scale of the gradients, so its first moment is compared."""
    step = build_step(change=lambda loss: 1000 * loss, optimiser=OPTIMISER.model_copy(update={"clip_norm": 0.25}))
    step.prepare(0)
    step(inputs_of(0))
    assert step.sums.read(1)["grad_norm"] > 100
    tensors = dict(step.optimisers["warm_start"].state_tensors())
    moments = torch.cat([tensors["first/weight"].flatten(), tensors["first/bias"]])
    assert float(moments.norm()) == pytest.approx(0.1 * 0.25, rel=1e-3)


def test_the_state_of_an_optimiser_is_restored_whole() -> None:
    step = build_step()
    for number in range(3):
        step.prepare(number)
        step(inputs_of(number))
    saved = {name: tensor.clone() for name, tensor in step.optimisers["warm_start"].state_tensors()}
    other = NetworkOptimiser(linear(), OPTIMISER)
    other.load_state_tensors(saved)
    restored = dict(other.state_tensors())
    assert restored.keys() == saved.keys()
    assert all(torch.equal(restored[name], tensor) for name, tensor in saved.items())
