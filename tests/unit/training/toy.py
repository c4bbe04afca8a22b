"""A training of a linear network on noise, for tests of the loop alone."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.execution import Execution
from training.draws import Purpose, generator
from training.logs import Progress
from training.loop import Stage, StageRun
from training.losses import StepInputs
from training.optimisation import NetworkOptimiser
from training.optimiser_config import OptimiserConfig
from training.processes import Processes
from training.step import OptimiserStep
from training.stopping import StopSignal

OPTIMISER = OptimiserConfig(steps=20, batch_size=4, learning_rate=0.05, warmup_steps=4, ema_decay=0.9, clip_norm=10.0)


def linear() -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(3, 1)


class LinearLoss(nn.Module):
    """The mean squared error of a sum of three numbers, by a linear network; `change` changes it."""

    def __init__(self, net: nn.Module, change: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss) -> None:
        super().__init__()
        self.net, self.change = net, change

    def forward(self, inputs: StepInputs) -> dict[str, torch.Tensor]:
        x = inputs.frames[0].flatten(1)
        return {"nll": self.change(((self.net(x) - x.sum(1, keepdim=True)) ** 2).mean())}


def inputs_of(step: int, size: int = 4) -> StepInputs:
    x = torch.randn(size, 3, 1, 1, generator=generator(7, Purpose.FLOW, step))
    return StepInputs((x,), x, torch.zeros(size, 0, 1, 1))


@contextmanager
def read(steps: range) -> Iterator[Iterable[StepInputs]]:
    yield (inputs_of(step) for step in steps)


def build_step(
    *,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss,
    optimiser: OptimiserConfig = OPTIMISER,
    execution: Execution | None = None,
) -> OptimiserStep:
    net = linear()
    optimisers = {"warm_start": NetworkOptimiser(net, optimiser)}
    loss = LinearLoss(net, change)
    return OptimiserStep(loss, optimisers, {"nll": 1.0}, execution or Execution(), parts=optimiser.accumulation)


def build_stage(folder: Path, step: OptimiserStep | None = None, **changes: Any) -> Stage:
    step = step or build_step()
    optimiser = step.optimisers["warm_start"].config

    def keep(number: int) -> Path:
        (folder / f"batch-{number}").touch()
        return folder / f"batch-{number}"

    settings: dict[str, Any] = {
        "name": "warm_start",
        "seed": 3,
        "num_steps": optimiser.steps,
        "batch_size": optimiser.batch_size,
        "step": step,
        "make_step": step,
        "inputs": read,
        "validate": lambda _: {"held_out": 1.0},
        "keep_batch": keep,
        "state_path": folder / "warm_start.state.safetensors",
        "save_every": 5,
        "validate_every": 5,
        "report_every": 2,
    }
    return Stage(**settings | changes)


def run(stage: Stage, report: Callable[[Progress], None] = lambda _: None, stop: StopSignal | None = None) -> float:
    return StageRun(stage, Processes(), stop or StopSignal(), report).run()


def weights(stage: Stage, *, averaged: bool = True) -> torch.Tensor:
    optimiser = stage.step.optimisers["warm_start"]
    net = optimiser.ema.net if averaged else optimiser.net
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


class FakeGraphs:
    """Recordings as on a CUDA device, made of calls: recording computes nothing, a replay repeats the calls."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def warm_up(self, function: Callable[[], object]) -> None:
        self.log.append("warm up")
        function()

    def record(self, function: Callable[[], object]) -> object:
        self.log.append("record")

        def replay() -> None:
            self.log.append("replay")
            function()

        return replay
