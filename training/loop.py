"""One loop for both networks: batches in, losses down, averages kept, progress told."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.config import OptimiserConfig
from training.ema import Ema
from training.state import load_state, save_state

Loss = Callable[[nn.Module, int], Float[Tensor, ""]]
"""The loss of a network on the batch of an optimiser step."""

Validate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Progress:
    """What a stage tells while it runs; `validation` is set where weights were saved."""

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
    """One network's training: its loss, how it is validated, and where its state is kept."""

    name: str
    net: nn.Module
    optimiser: OptimiserConfig
    loss: Loss
    validate: Validate
    state_path: Path
    save_every: int
    report_every: int


def learning_rate(config: OptimiserConfig, step: int) -> float:
    """Return the rate of optimiser step `step`: linear warm-up, then half a cosine to the final rate."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    blend = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * blend


def run_stage(stage: Stage, report: Callable[[Progress], None]) -> tuple[nn.Module, float]:
    """Train until the configured number of steps; return the averaged network and the seconds spent, resumes included.

    Goes on from `stage.state_path` where that exists, with the same batches and draws as an undisturbed run.
    """
    config, net = stage.optimiser, stage.net.train()
    ema = Ema(net, config.ema_decay)
    optimiser = torch.optim.AdamW(net.parameters(), betas=config.betas, weight_decay=config.weight_decay)
    done, spent = load_state(stage.state_path, net, ema, optimiser) if stage.state_path.exists() else (0, 0.0)
    started = last = time.monotonic()
    since, total_loss, total_norm = 0, 0.0, 0.0
    for step in range(done, config.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        loss = stage.loss(net, step)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm, error_if_nonfinite=True)
        optimiser.step()
        ema.update(net, step)
        since, total_loss, total_norm = since + 1, total_loss + loss.item(), total_norm + norm.item()
        finished = step + 1 == config.steps
        saved = finished or (step + 1) % stage.save_every == 0
        if saved or (step + 1) % stage.report_every == 0:
            now = time.monotonic()
            rate = since / (now - last)
            validation = stage.validate(ema.net) if saved else None
            if saved:
                save_state(stage.state_path, net, ema, optimiser, step + 1, spent + time.monotonic() - started)
            report(
                Progress(
                    stage.name, step + 1, config.steps, total_loss / since, total_norm / since,
                    learning_rate(config, step), rate * config.batch_size, (config.steps - step - 1) / rate, validation,
                )
            )  # fmt: skip
            last, since, total_loss, total_norm = time.monotonic(), 0, 0.0, 0.0
    return ema.net, spent + time.monotonic() - started
