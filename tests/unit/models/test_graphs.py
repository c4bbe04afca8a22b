import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.compilation import Compiler
from models.forecaster import Forecaster
from models.graphs import CudaGraphs, Graphs, RecordedFunction
from models.noise import white_noise
from models.testing import tiny_networks, tiny_spec
from weather.manifest import Sampling

CPU = torch.device("cpu")
TIME = np.datetime64("2018-09-15T06", "s")


class StandIn:
    """Graphs of a CPU: a replay repeats the function, on the memory that it was recorded with."""

    def __init__(self) -> None:
        self.warmed_up, self.recorded, self.replayed = 0, 0, 0

    def warm_up(self, function: Callable[[], None]) -> None:
        self.warmed_up += 1
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            function()

        return replay


class Broken(StandIn):
    """Graphs that cannot be recorded."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")


def _halve(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (x - y) / 2, x


def test_a_function_is_recorded_after_two_calls_for_each_combination_of_shapes() -> None:
    graphs = StandIn()
    assert isinstance(graphs, Graphs)
    halve = RecordedFunction("Halves", _halve, graphs)
    for size in (3, 5, 3, 5, 3, 5, 3):
        x = torch.rand(size)
        assert torch.equal(halve(x, x - 2)[0], torch.ones(size))
    assert (graphs.warmed_up, graphs.recorded, graphs.replayed) == (4, 2, 3)


def test_results_are_left_alone_by_later_calls() -> None:
    halve = RecordedFunction("Halves", _halve, StandIn())
    results = [halve(torch.full((2,), float(number)), torch.zeros(2))[0] for number in range(6)]
    assert [float(result[0]) for result in results] == [0, 0.5, 1, 1.5, 2, 2.5]


def test_inputs_that_are_expanded_are_recorded_as_what_they_look_like() -> None:
    halve = RecordedFunction("Halves", _halve, StandIn())
    for _ in range(4):
        assert torch.equal(halve(torch.ones(1).expand(4), torch.zeros(4))[0], torch.full((4,), 0.5))


def test_a_function_that_cannot_be_recorded_runs_as_it_is_after_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    halve = RecordedFunction("Halves", _halve, Broken())
    for _ in range(5):
        assert torch.equal(halve(torch.ones(2), torch.zeros(2))[0], torch.full((2,), 0.5))
    assert [record.message for record in caplog.records] == [
        "Halves cannot be recorded as graphs and run without: operation not permitted when stream is capturing"
    ]


@pytest.mark.parametrize("last", [None, "operation failed due to a previous error during capture"])
def test_too_little_memory_for_a_recording_is_raised_and_later_calls_try_again(last: str | None) -> None:
    class Full(StandIn):
        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            if not self.recorded:
                self.recorded = 1
                try:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                finally:
                    if last is not None:
                        raise RuntimeError(last)
            return super().record(function)

    halve = RecordedFunction("Halves", _halve, Full())
    inputs = torch.ones(2), torch.zeros(2)
    for _ in range(2):
        halve(*inputs)
    with pytest.raises(torch.OutOfMemoryError):
        halve(*inputs)
    for _ in range(3):
        assert torch.equal(halve(*inputs)[0], torch.full((2,), 0.5))


def test_while_another_thread_compiles_a_function_runs_unrecorded() -> None:
    graphs = StandIn()
    halve = RecordedFunction("Halves", _halve, graphs)
    compiled: list[int] = []

    def compile_sum(x: torch.Tensor) -> torch.Tensor:
        thread = threading.Thread(target=lambda: [halve(x, x - 2) for _ in range(4)])
        thread.start()
        thread.join()
        compiled.append(graphs.recorded)
        return x

    run = Compiler().compile(compile_sum)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.compilation._compile", lambda function: function)
        run(torch.rand(3))
        run(torch.rand(3))
    assert compiled == [0, 1]


class Steps:
    """An observer that keeps the evaluations of each step that is launched at once."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def before_evaluation(self, network: str, members: int) -> None:
        raise AssertionError(f"{network} is evaluated by itself")

    def before_step(self, warm_start: int, flow: int) -> None:
        self.steps.append((warm_start, flow))


@pytest.mark.parametrize("nfe", [2, 4])
def test_a_forecast_of_recorded_steps_equals_that_of_single_evaluations_bit_for_bit(nfe: int) -> None:
    """The first frames are shared by all members, later ones are not; members are lost in the recorded steps too."""
    networks, observer, graphs = tiny_networks(tiny_spec()), Steps(), StandIn()
    eager = Forecaster(networks, Sampling(nfe=nfe), CPU)
    recorded = Forecaster(networks, Sampling(nfe=nfe), CPU, graphs=graphs).with_observer(observer)
    analysis = [6 * torch.randn(1, 2, 16, 32, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    frames = {name: tuple(frame.expand(3, -1, -1, -1) for frame in analysis) for name in ("eager", "recorded")}
    for step in range(6):
        noise = white_noise(1, TIME, range(3), step, (2, 16, 32))
        noise[2] += torch.inf if step == 4 else 0.0
        states = {}
        for name, forecaster in (("eager", eager), ("recorded", recorded)):
            newest, _ = frames[name]
            states[name] = forecaster.step(frames[name], TIME, noise)
            frames[name] = (states[name], newest)
        torch.testing.assert_close(states["recorded"], states["eager"], rtol=0, atol=0, equal_nan=True)
    assert states["eager"][2].isnan().all()
    assert not states["eager"][:2].isnan().any()
    assert observer.steps == [(1, 3 * nfe), *[(3, 3 * nfe)] * 5]
    assert graphs.replayed == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_recorded_steps_on_cuda_equal_single_evaluations() -> None:
    device = torch.device("cuda")
    networks = tiny_networks(tiny_spec()).to(device)
    frames = {
        name: (torch.ones(3, 2, 16, 32, device=device), torch.zeros(3, 2, 16, 32, device=device)) for name in "er"
    }
    forecasters = {"e": Forecaster(networks, Sampling(nfe=4), device)}
    forecasters["r"] = Forecaster(networks, Sampling(nfe=4), device, graphs=CudaGraphs(device))
    for step in range(5):
        noise = white_noise(1, TIME, range(3), step, (2, 16, 32)).to(device)
        for name, forecaster in forecasters.items():
            newest, _ = frames[name]
            frames[name] = (forecaster.step(frames[name], TIME, noise), newest)
        torch.testing.assert_close(frames["r"][0], frames["e"][0], rtol=0, atol=1e-5)
