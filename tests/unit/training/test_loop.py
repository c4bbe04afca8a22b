import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from training.config import OptimiserConfig
from training.loop import Loss, Progress, Stage, learning_rate, run_stage
from training.stages import Purpose, generator

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


def test_progress_is_reported_at_its_interval_and_wherever_the_state_is_saved(tmp_path: Path) -> None:
    reports: list[Progress] = []
    run_stage(_stage(tmp_path), reports.append)
    assert [report.step for report in reports] == [2, 4, 5, 6, 8, 10, 12, 14, 15, 16, 18, 20]
    assert [report.step for report in reports if report.validation] == [5, 10, 15, 20]
    assert {(report.stage, report.steps) for report in reports} == {("net", 20)}
    assert [report.learning_rate for report in reports] == [
        learning_rate(OPTIMISER, report.step - 1) for report in reports
    ]


def test_a_report_averages_over_the_steps_since_the_last_one(tmp_path: Path) -> None:
    reports: list[Progress] = []
    run_stage(_stage(tmp_path, lambda net, step: 0 * _loss(net, step) + step), reports.append)
    assert [report.loss for report in reports[:4]] == [0.5, 2.5, 4, 5]
    assert {report.grad_norm for report in reports} == {0.0}


class Clock:
    """A clock that a test moves: `time.monotonic` of the module under test."""

    now = 50.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("training.loop.time", clock)
    return clock


def test_throughput_and_time_left_follow_the_clock_without_validation(tmp_path: Path, clock: Clock) -> None:
    """A step takes 2 s, a validation 100 s; a batch has 4 samples."""

    def loss(net: nn.Module, step: int) -> torch.Tensor:
        clock.now += 2
        return _loss(net, step)

    def validate(net: nn.Module) -> dict[str, float]:
        clock.now += 100
        return {}

    reports: list[Progress] = []
    _, seconds = run_stage(replace(_stage(tmp_path, loss), validate=validate), reports.append)
    assert {report.samples_per_second for report in reports} == {2.0}
    assert [report.seconds_left for report in reports] == [2 * (20 - report.step) for report in reports]
    assert seconds == 20 * 2 + 4 * 100


def test_the_seconds_of_all_runs_of_a_stage_are_summed(tmp_path: Path, clock: Clock) -> None:
    def loss(net: nn.Module, step: int) -> torch.Tensor:
        clock.now += 3
        if step == 7 and clock.now < 500:
            clock.now += 1000
            raise KeyboardInterrupt
        return _loss(net, step)

    with pytest.raises(KeyboardInterrupt):
        run_stage(_stage(tmp_path, loss), lambda _: None)
    _, seconds = run_stage(_stage(tmp_path, loss), lambda _: None)
    assert seconds == 5 * 3 + 15 * 3


def test_a_stage_without_steps_returns_the_network_unchanged(tmp_path: Path) -> None:
    stage = replace(_stage(tmp_path), optimiser=OPTIMISER.model_copy(update={"steps": 0}))
    net, _ = run_stage(stage, lambda _: pytest.fail("no step, no report"))
    for expected, got in zip(_net().parameters(), net.parameters(), strict=True):
        assert torch.equal(expected, got)
    assert not stage.state_path.exists()


def test_a_stage_that_is_done_is_not_trained_again(tmp_path: Path) -> None:
    whole, _ = run_stage(_stage(tmp_path), lambda _: None)
    again, _ = run_stage(_stage(tmp_path, lambda *_: pytest.fail("trained")), lambda _: None)
    for expected, got in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(expected, got)


def test_validation_is_of_the_averaged_weights_in_evaluation_mode(tmp_path: Path) -> None:
    networks: list[nn.Module] = []

    def validate(net: nn.Module) -> dict[str, float]:
        networks.append(net)
        return {}

    stage = replace(_stage(tmp_path), validate=validate)
    averaged, _ = run_stage(stage, lambda _: None)
    assert all(net is averaged for net in networks)
    assert averaged is not stage.net
    assert not averaged.training
    assert stage.net.training
    assert not torch.equal(averaged.get_parameter("weight"), stage.net.get_parameter("weight"))


def test_gradients_are_clipped_to_their_norm(tmp_path: Path) -> None:
    """Adam's updates do not depend on the scale of the gradients, so the saved first moment is compared."""
    optimiser = OPTIMISER.model_copy(update={"steps": 1, "clip_norm": 0.25})
    reports: list[Progress] = []
    stage = replace(_stage(tmp_path, lambda net, step: 1000 * _loss(net, step)), optimiser=optimiser)
    run_stage(stage, reports.append)
    assert reports[0].grad_norm > 100
    state = load_file(stage.state_path)
    moments = torch.cat([state["first/weight"].flatten(), state["first/bias"]])
    assert float(moments.norm()) == pytest.approx(0.1 * 0.25, rel=1e-3)


def test_an_interrupted_save_leaves_the_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = _stage(tmp_path)
    run_stage(replace(stage, optimiser=OPTIMISER.model_copy(update={"steps": 5})), lambda _: None)
    before = stage.state_path.read_bytes()

    def save_file(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half of a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("training.loop.save_file", save_file)
    with pytest.raises(KeyboardInterrupt):
        run_stage(_stage(tmp_path), lambda _: None)
    assert stage.state_path.read_bytes() == before
