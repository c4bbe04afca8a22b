from pathlib import Path

import pytest
import torch
from torch import nn

from training.config import OptimiserConfig
from training.loop import Loss, Progress, Stage, learning_rate, run_stage
from training.streams import Purpose, generator

OPTIMISER = OptimiserConfig(steps=20, batch_size=4, learning_rate=0.05, warmup_steps=4, ema_decay=0.9)


def _net() -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(3, 1)


def _loss(net: nn.Module, step: int) -> torch.Tensor:
    x = torch.randn(4, 3, generator=generator(7, Purpose.FLOW, step))
    loss: torch.Tensor = ((net(x) - x.sum(1, keepdim=True)) ** 2).mean()
    return loss


def _stage(folder: Path, loss: Loss = _loss) -> Stage:
    return Stage(
        name="net",
        net=_net(),
        optimiser=OPTIMISER,
        loss=loss,
        validate=lambda _: {"held_out": 1.0},
        state_path=folder / "net.state.safetensors",
        save_every=5,
        report_every=2,
    )


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    reports: list[Progress] = []
    run_stage(_stage(tmp_path), reports.append)
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert reports[-1].step == 20
    assert reports[-1].seconds_left == 0
    assert reports[-1].validation == {"held_out": 1.0}


@pytest.mark.parametrize("interrupted_at", [5, 7, 12])
def test_an_interrupted_stage_resumes_to_the_same_weights(interrupted_at: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, _ = run_stage(_stage(tmp_path / "whole"), lambda _: None)

    def interrupt(net: nn.Module, step: int) -> torch.Tensor:
        if step == interrupted_at:
            raise KeyboardInterrupt
        return _loss(net, step)

    with pytest.raises(KeyboardInterrupt):
        run_stage(_stage(tmp_path, interrupt), lambda _: None)
    resumed, _ = run_stage(_stage(tmp_path), lambda _: None)
    for expected, got in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, got)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    stage = _stage(tmp_path, lambda net, step: _loss(net, step) * float("nan"))
    with pytest.raises(RuntimeError, match="non-finite"):
        run_stage(stage, lambda _: None)


def test_the_learning_rate_rises_then_falls_to_the_final_rate() -> None:
    config = OptimiserConfig(steps=100, learning_rate=1.0, final_learning_rate=0.1, warmup_steps=10)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
