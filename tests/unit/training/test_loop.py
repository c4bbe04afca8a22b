from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.unit.training.toy import OPTIMISER, build_stage, build_step, inputs_of, read, run, weights
from training.errors import NotFiniteError, StoppedError
from training.logs import Progress
from training.losses import StepInputs
from training.optimisation import learning_rate
from training.optimiser_config import OptimiserConfig
from training.stopping import StopSignal


@contextmanager
def _interrupted_read(steps: range) -> Iterator[Iterable[StepInputs]]:
    def read_until_interrupted() -> Iterator[StepInputs]:
        for step in steps:
            if step == 7:
                raise KeyboardInterrupt
            yield inputs_of(step)

    yield read_until_interrupted()


def _with_steps(steps: int) -> OptimiserConfig:
    return OPTIMISER.model_copy(update={"steps": steps})


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    reports: list[Progress] = []
    run(build_stage(tmp_path), reports.append)
    assert reports[-1].losses["nll"] < 0.5 * reports[0].losses["nll"]
    assert reports[-1].step == 20
    assert reports[-1].seconds_left == 0
    assert reports[-1].validation == {"held_out": 1.0}


def test_an_interrupted_stage_resumes_to_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = build_stage(tmp_path / "whole")
    run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(build_stage(tmp_path, inputs=_interrupted_read))
    resumed = build_stage(tmp_path)
    run(resumed)
    assert torch.equal(weights(resumed), weights(whole))
    assert torch.equal(weights(resumed, averaged=False), weights(whole, averaged=False))


def test_a_constant_schedule_may_be_given_more_steps_without_another_result(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    long = OPTIMISER.model_copy(update={"schedule": "constant"})
    whole = build_stage(tmp_path / "whole", build_step(optimiser=long))
    run(whole)
    run(build_stage(tmp_path, build_step(optimiser=long.model_copy(update={"steps": 9}))))
    continued = build_stage(tmp_path, build_step(optimiser=long))
    run(continued)
    assert torch.equal(weights(continued), weights(whole))


def test_a_signal_to_end_saves_the_state_of_that_step_and_ends_with_the_code_of_the_signal(tmp_path: Path) -> None:
    stop, reports = StopSignal(), list[Progress]()

    @contextmanager
    def read_and_stop(steps: range) -> Iterator[Iterable[StepInputs]]:
        def stop_in_step_seven() -> Iterator[StepInputs]:
            for step in steps:
                stop.is_set |= step == 6
                yield inputs_of(step)

        yield stop_in_step_seven()

    with pytest.raises(StoppedError, match=r"after step 7 of the stage `warm_start` is saved.* --resume") as stopped:
        run(build_stage(tmp_path, inputs=read_and_stop), reports.append, stop)
    assert stopped.value.exit_code == 143
    assert [report.step for report in reports] == [2, 4, 5, 6, 7]
    resumed, whole = build_stage(tmp_path), build_stage(tmp_path / "whole")
    run(resumed, reports.append)
    assert [report.step for report in reports[5:]] == [8, 10, 12, 14, 15, 16, 18, 20]
    (tmp_path / "whole").mkdir()
    run(whole)
    assert torch.equal(weights(resumed), weights(whole))


def _break(step: int, value: float) -> object:
    """Return inputs that make one step infinite or not a number."""

    @contextmanager
    def read_with_bad_step(steps: range) -> Iterator[Iterable[StepInputs]]:
        yield (inputs_of(number).map(lambda x, number=number: x * value if number == step else x) for number in steps)

    return read_with_bad_step


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_loss_that_is_not_finite_ends_the_training_at_the_next_report_and_keeps_the_batch_of_its_step(
    value: float, tmp_path: Path
) -> None:
    reports: list[Progress] = []
    with pytest.raises(NotFiniteError, match=r"step 13 of the stage `warm_start` is not finite.*batch-12") as error:
        run(build_stage(tmp_path, inputs=_break(12, value)), reports.append)
    assert error.value.exit_code == 1
    assert [report.step for report in reports][-1] == 12
    assert (tmp_path / "batch-12").exists()
    before = (tmp_path / "warm_start.state.safetensors").read_bytes()
    with pytest.raises(NotFiniteError, match="step 13"):
        run(build_stage(tmp_path, inputs=_break(12, value), report_every=100))
    assert (tmp_path / "warm_start.state.safetensors").read_bytes() == before


def test_progress_is_reported_at_its_interval_and_wherever_the_state_is_saved_or_validated(tmp_path: Path) -> None:
    reports: list[Progress] = []
    run(build_stage(tmp_path, validate_every=9), reports.append)
    assert [report.step for report in reports] == [2, 4, 5, 6, 8, 9, 10, 12, 14, 15, 16, 18, 20]
    assert [report.step for report in reports if report.validation] == [9, 18, 20]
    assert {(report.stage, report.steps) for report in reports} == {("warm_start", 20)}
    assert [report.learning_rate for report in reports] == [
        learning_rate(OPTIMISER, report.step - 1) for report in reports
    ]


def test_a_report_averages_over_the_steps_since_the_last_one(tmp_path: Path) -> None:
    reports: list[Progress] = []
    losses = iter(range(20))
    step = build_step(change=lambda loss: 0 * loss + next(losses))
    run(build_stage(tmp_path, step), reports.append)
    assert [report.losses["nll"] for report in reports[:4]] == [0.5, 2.5, 4, 5]
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


def test_throughput_follows_the_clock_without_validation(tmp_path: Path, clock: Clock) -> None:
    """A step takes 2 s, a validation 100 s; a batch has 4 samples."""

    def change(loss: torch.Tensor) -> torch.Tensor:
        clock.now += 2
        return loss

    def validate(_: int) -> dict[str, float]:
        clock.now += 100
        return {}

    reports: list[Progress] = []
    seconds = run(build_stage(tmp_path, build_step(change=change), validate=validate), reports.append)
    assert {report.samples_per_second for report in reports} == {2.0}
    assert seconds == 20 * 2 + 4 * 100


def test_the_seconds_of_all_runs_of_a_stage_are_summed(tmp_path: Path, clock: Clock) -> None:
    def change(loss: torch.Tensor) -> torch.Tensor:
        clock.now += 3
        return loss

    with pytest.raises(KeyboardInterrupt):
        run(build_stage(tmp_path, build_step(change=change), inputs=_interrupted_read))
    clock.now += 1000
    assert run(build_stage(tmp_path, build_step(change=change))) == 5 * 3 + 15 * 3


def test_a_stage_without_steps_leaves_the_network_unchanged(tmp_path: Path) -> None:
    stage = build_stage(tmp_path, build_step(optimiser=_with_steps(0)))
    before = weights(stage)
    run(stage, lambda _: pytest.fail("no step, no report"))
    assert torch.equal(weights(stage), before)
    assert not stage.state_path.exists()


def test_a_stage_that_is_done_is_not_trained_again(tmp_path: Path) -> None:
    whole = build_stage(tmp_path)
    run(whole)
    again = build_stage(tmp_path, build_step(change=lambda _: pytest.fail("trained")))
    run(again)
    assert torch.equal(weights(again), weights(whole))


def test_an_interrupted_save_leaves_the_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = build_stage(tmp_path, build_step(optimiser=_with_steps(5)))
    run(stage)
    before = stage.state_path.read_bytes()

    def save_file(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half of a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("training.state.save_file", save_file)
    with pytest.raises(KeyboardInterrupt):
        run(build_stage(tmp_path))
    assert stage.state_path.read_bytes() == before


def test_the_global_random_numbers_of_a_process_are_left_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(build_stage(tmp_path))
    assert torch.equal(torch.rand(3), expected)


def test_random_layers_draw_by_seed_and_step_whenever_the_training_was_interrupted(tmp_path: Path) -> None:
    draws: list[float] = []

    def change(loss: torch.Tensor) -> torch.Tensor:
        draws.append(float(torch.rand(())))
        return loss

    run(build_stage(tmp_path, build_step(change=change)))
    whole = draws.copy()
    assert len(set(whole)) == 20
    draws.clear()
    (tmp_path / "again").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(build_stage(tmp_path / "again", build_step(change=change), inputs=_interrupted_read))
    torch.rand(5)
    run(build_stage(tmp_path / "again", build_step(change=change), inputs=read))
    assert draws == whole[:7] + whole[5:]
