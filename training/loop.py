"""The training loop of both networks: optimiser steps, averaged weights, saved state, progress reports."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from models.shapes import Scalar
from storage.atomic import replace_file
from training.config import OptimiserConfig
from training.ema import Ema

Loss = Callable[[nn.Module, int], Scalar]
"""The loss of a network on the batch of an optimiser step."""

Validate = Callable[[nn.Module], dict[str, float]]
"""Scores of a network on held-out data, by name."""


@dataclass(frozen=True)
class Progress:
    """Progress of a stage, averaged since the last report; `validation` is set if the state was saved."""

    stage: str
    step: int
    steps: int
    loss: float
    grad_norm: float
    learning_rate: float
    samples_per_second: float
    seconds_left: float
    validation: dict[str, float] | None = None


@dataclass(frozen=True)
class Stage:
    """The training of one network: its loss, its validation, and the file that holds its state."""

    name: str
    net: nn.Module
    optimiser: OptimiserConfig
    loss: Loss
    validate: Validate
    state_path: Path
    save_every: int
    report_every: int


class _Interval:
    """Sums over the optimiser steps since this object was made; a new one is made after each report."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.steps, self.loss, self.grad_norm = 0, 0.0, 0.0

    def add(self, loss: float, grad_norm: float) -> None:
        """Add one optimiser step."""
        self.steps, self.loss, self.grad_norm = self.steps + 1, self.loss + loss, self.grad_norm + grad_norm

    def steps_per_second(self) -> float:
        """Return the mean number of optimiser steps per second since this object was made."""
        return self.steps / (time.monotonic() - self.started)


def learning_rate(config: OptimiserConfig, step: int) -> float:
    """Return the learning rate of optimiser step `step`: linear warm-up, then half a cosine to the final rate."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    blend = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * blend


def run_stage(stage: Stage, report: Callable[[Progress], None]) -> tuple[nn.Module, float]:
    """Train for the configured number of steps; return the averaged network and the seconds spent, all runs summed.

    A stage whose `state_path` exists is resumed, with the batches and random draws of an uninterrupted run.
    """
    config, net = stage.optimiser, stage.net.train()
    ema = Ema(net, config.ema_decay)
    optimiser = torch.optim.AdamW(net.parameters(), betas=config.betas, weight_decay=config.weight_decay)
    done, spent = _load_state(stage.state_path, net, ema, optimiser) if stage.state_path.exists() else (0, 0.0)
    started, interval = time.monotonic(), _Interval()
    for step in range(done, config.steps):
        interval.add(*_optimise(stage, optimiser, step))
        ema.update(net, step)
        saves = step + 1 == config.steps or (step + 1) % stage.save_every == 0
        if saves or (step + 1) % stage.report_every == 0:
            rate = interval.steps_per_second()
            validation = stage.validate(ema.net) if saves else None
            if saves:
                _save_state(stage.state_path, net, ema, optimiser, step + 1, spent + time.monotonic() - started)
            report(_progress(stage, step, interval, rate, validation))
            interval = _Interval()
    return ema.net, spent + time.monotonic() - started


def _optimise(stage: Stage, optimiser: torch.optim.AdamW, step: int) -> tuple[float, float]:
    """Make optimiser step `step`; return the loss and the norm of the gradient before it is clipped."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(stage.optimiser, step)
    loss = stage.loss(stage.net, step)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    norm = nn.utils.clip_grad_norm_(stage.net.parameters(), stage.optimiser.clip_norm, error_if_nonfinite=True)
    optimiser.step()
    return loss.item(), norm.item()


def _progress(
    stage: Stage, step: int, interval: _Interval, rate: float, validation: dict[str, float] | None
) -> Progress:
    config = stage.optimiser
    return Progress(
        stage=stage.name,
        step=step + 1,
        steps=config.steps,
        loss=interval.loss / interval.steps,
        grad_norm=interval.grad_norm / interval.steps,
        learning_rate=learning_rate(config, step),
        samples_per_second=rate * config.batch_size,
        seconds_left=(config.steps - step - 1) / rate,
        validation=validation,
    )


def _save_state(path: Path, net: nn.Module, ema: Ema, optimiser: torch.optim.AdamW, step: int, seconds: float) -> None:
    """Write weights, averaged weights and moments of the optimiser after `step` steps and `seconds` to `path`."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in net.named_parameters():
        moments = optimiser.state.get(weight, {})
        tensors[f"weights/{name}"] = weight.detach().contiguous()
        tensors[f"average/{name}"] = ema.net.get_parameter(name).contiguous()
        if moments:
            tensors[f"first/{name}"] = moments["exp_avg"].contiguous()
            tensors[f"second/{name}"] = moments["exp_avg_sq"].contiguous()
    with replace_file(path) as partial:
        save_file(tensors, partial, metadata={"progress": json.dumps({"step": step, "seconds": seconds})})


def _load_state(path: Path, net: nn.Module, ema: Ema, optimiser: torch.optim.AdamW) -> tuple[int, float]:
    """Restore the state that `_save_state` wrote; return the number of steps done and the seconds spent on them."""
    with safe_open(path, framework="pt") as file, torch.no_grad():
        progress = json.loads(file.metadata()["progress"])
        for name, weight in net.named_parameters():
            weight.copy_(file.get_tensor(f"weights/{name}"))
            ema.net.get_parameter(name).copy_(file.get_tensor(f"average/{name}"))
            if progress["step"]:
                optimiser.state[weight] = {
                    "step": torch.tensor(float(progress["step"])),
                    "exp_avg": torch.empty_like(weight).copy_(file.get_tensor(f"first/{name}")),
                    "exp_avg_sq": torch.empty_like(weight).copy_(file.get_tensor(f"second/{name}")),
                }
    return int(progress["step"]), float(progress["seconds"])
