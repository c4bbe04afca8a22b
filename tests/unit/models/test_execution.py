import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.compilation import Compiler
from models.execution import Execution, Precision
from models.forecaster import Forecaster
from models.noise import white_noise
from models.testing import tiny_networks, tiny_spec
from weather.manifest import ModelSpec, Sampling
from weather.network_specs import UNetSpec

CPU = torch.device("cpu")
INIT_TIME = np.datetime64("2018-09-15T00", "s")


class EvaluationLog:
    """An observer that records each evaluation."""

    def __init__(self) -> None:
        self.evaluations: list[tuple[str, int]] = []

    def before_evaluation(self, network: str, members: int) -> None:
        self.evaluations.append((network, members))

    def before_step(self, warm_start: int, flow: int) -> None:
        raise AssertionError("no step is launched at once without graphs")


def _step(
    execution: Execution, log: EvaluationLog | None = None, *, shared: bool = False, spec: ModelSpec | None = None
) -> torch.Tensor:
    forecaster = Forecaster(tiny_networks(spec or tiny_spec()), Sampling(nfe=4), CPU, execution, log)
    draw = torch.Generator().manual_seed(0)
    newest = (6 * torch.randn(1, 2, 16, 32, generator=draw)).expand(3, -1, -1, -1)
    newest = newest if shared else newest.clone()
    return forecaster.step((newest, newest), INIT_TIME, white_noise(1, INIT_TIME, range(3), 0, (2, 16, 32)))


_BESIDE = """
import sys, threading, time
import torch
from models.execution import Execution

execution, count, end = Execution(precision="bfloat16"), [0, 0], time.monotonic() + 45
sys.setswitchinterval(0.0005)
torch.set_num_threads(1)

def make():
    layers = (torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(12))
    return torch.nn.Sequential(*(layer for conv in layers for layer in (conv, torch.nn.SiLU())))

def run(number, function, fields=torch.randn(1, 8, 8, 8)):
    with torch.inference_mode(), execution.autocast(fields.device, keep_casts=False):
        function(fields)
    count[number] += 1

def compile_beside():
    while time.monotonic() < end:
        torch._dynamo.reset()
        run(1, torch.compile(make(), backend="eager", dynamic=False))

thread, network = threading.Thread(target=compile_beside), make()
thread.start()
while time.monotonic() < end:
    run(0, network)
thread.join()
print(*count)
"""


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.5), ("float16", 0.5)])
def test_lower_precision_stays_close_in_float32_states(precision: Precision, tolerance: float) -> None:
    states, exact = _step(Execution(precision=precision)), _step(Execution())
    assert states.dtype == torch.float32
    assert 0 < float((states - exact).abs().max()) < tolerance


def test_float32_runs_without_autocast_and_lower_precision_with_it() -> None:
    product = torch.ones(2, 2)
    with Execution().autocast(CPU):
        assert (product @ product).dtype == torch.float32
    with Execution(precision="bfloat16").autocast(CPU):
        assert (product @ product).dtype == torch.bfloat16
    assert (product @ product).dtype == torch.float32


def test_a_time_step_keeps_no_casts_which_could_lock_out_a_thread_that_compiles_beside_it() -> None:
    spec = tiny_spec()
    networks, kept = tiny_networks(spec), []
    for part in (networks.warm_start, networks.flow):
        part.register_forward_hook(lambda *_: kept.append(torch.is_autocast_cache_enabled()))
        part.net.register_forward_hook(lambda *_: kept.append(torch.is_autocast_cache_enabled()))
    forecaster = Forecaster(networks, Sampling(nfe=2), CPU, Execution(precision="bfloat16"))
    frames = [torch.zeros(1, 2, *spec.grid.grid.shape)] * spec.context_frames
    forecaster.step(frames, INIT_TIME, frames[0])
    assert kept
    assert not any(kept)
    with Execution(precision="bfloat16").autocast(CPU):
        assert torch.is_autocast_cache_enabled()


@pytest.mark.campaign
def test_steps_go_on_while_another_thread_compiles() -> None:
    """With casts that are kept, the two threads waited for each other after seconds."""
    command = [sys.executable, "-c", _BESIDE]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert process.returncode == 0, process.stderr
    steps, compilations = map(int, process.stdout.split())
    assert steps > 100
    assert compilations > 10


def test_a_function_that_is_not_compiled_is_returned_unchanged() -> None:
    function = torch.nn.Linear(2, 2)
    assert Execution().compile(function) is function


@pytest.mark.campaign
def test_compiled_networks_agree_with_the_eager_ones() -> None:
    """It runs in a process of its own, because functions with the shape checks of tests cannot be compiled."""
    command = [sys.executable, __file__]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr
    assert float(process.stdout) < 1e-4


def test_every_evaluation_is_observed_and_members_that_share_their_frames_take_one_warm_start() -> None:
    separate, shared = EvaluationLog(), EvaluationLog()
    states = _step(Execution(), shared, shared=True)
    torch.testing.assert_close(states, _step(Execution(), separate), rtol=0, atol=1e-5)
    assert separate.evaluations == [("warm_start", 3), *[("flow", 3)] * 4]
    assert shared.evaluations == [("warm_start", 1), *[("flow", 3)] * 4]


def test_all_evaluations_of_a_compiled_network_have_inputs_of_one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be compiled once more for the first x_t of a step if that were not made in inference mode."""
    kinds: list[bool] = []

    def spy(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any) -> Any:
            kinds.append(inputs[0].is_inference())
            return function(*inputs)

        return run

    monkeypatch.setattr("models.compilation._compile", spy)
    _step(Execution(Compiler()))
    assert kinds == [True] * 5


if __name__ == "__main__":
    spec = tiny_spec()
    net = UNetSpec(widths=(8,), blocks=1, head_channels=4)
    small = spec.model_copy(update={"warm_start": net, "flow": net.model_copy(update={"embedding_width": 8})})
    print(float((_step(Execution(Compiler()), spec=small) - _step(Execution(), spec=small)).abs().max()))  # noqa: T201


def test_float32_is_exact_on_a_gpu_and_tf32_only_where_it_is_chosen() -> None:
    """PyTorch itself allows TF32 in convolutions."""
    settings = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [setting.allow_tf32 for setting in settings]
    assert before == [True, False]
    for precision, allowed in (("float32", False), ("tf32", True)):
        with Execution(precision=precision).autocast(torch.device("cuda")):  # type: ignore[arg-type]  # of a tuple
            assert [setting.allow_tf32 for setting in settings] == [allowed] * 2
        assert [setting.allow_tf32 for setting in settings] == before


def test_threads_that_evaluate_in_float32_do_not_allow_tf32_to_each_other_and_one_in_tf32_waits() -> None:
    """The first of two that overlap ends first; a third, which allows TF32, begins when both have ended."""
    device, before = torch.device("cuda"), torch.backends.cudnn.allow_tf32
    first, second, third = (
        Execution(precision=precision).autocast(device) for precision in ("float32", "float32", "tf32")
    )
    seen: list[bool] = []

    def evaluate_in_tf32() -> None:
        with third:
            seen.append(torch.backends.cudnn.allow_tf32)

    thread = threading.Thread(target=evaluate_in_tf32)
    with ExitStack() as stack:
        first.__enter__()
        stack.enter_context(second)
        thread.start()
        first.__exit__(None, None, None)
        assert not torch.backends.cudnn.allow_tf32
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert seen == [True]
    assert torch.backends.cudnn.allow_tf32 == before


def test_tf32_is_float32_on_a_cpu() -> None:
    assert torch.equal(_step(Execution(precision="tf32")), _step(Execution()))
