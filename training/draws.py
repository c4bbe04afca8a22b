"""Random draws of a training: functions of its seed, their purpose and the optimiser step alone.

They are those of the whole batch of a step, of which each process takes its share, so that they depend neither on the
number of processes nor on how often a training was interrupted.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from models.paths import skewed_times
from models.shapes import Fields, FlowTime, Warmth


class Purpose(IntEnum):
    """The purpose of a random stream; streams of different purposes are independent."""

    ORDER = 0
    WARM_START = 1
    FLOW = 2
    VALIDATION = 3
    DROPOUT = 4
    ROLLOUT = 5


def stream_seed(seed: int, purpose: Purpose, step: int, *more: int) -> int:
    """Return the seed of one step of one purpose, below 2⁶³; `more` numbers distinguish streams of the same step."""
    words = np.random.SeedSequence([seed, purpose, step, *more]).generate_state(1, np.uint64)
    return int(words[0] >> 1)


def generator(seed: int, purpose: Purpose, step: int, device: torch.device | None = None) -> torch.Generator:
    """Return a generator of torch for one step of one purpose, by default on the CPU.

    The draws on a CPU and on a CUDA device differ.
    """
    return torch.Generator(device or "cpu").manual_seed(stream_seed(seed, purpose, step))


@dataclass(frozen=True)
class FlowDraws:
    """Noise x_0, flow time t and warmth w of each sample."""

    x_0: Fields
    t: FlowTime
    warmth: Warmth


def draw_for_flow(
    shape: tuple[int, int, int, int], draws: torch.Generator, full_warmth_fraction: float, share: slice
) -> FlowDraws:
    """Draw for a whole batch whose fields have `shape`, and return the draws of the samples in `share`.

    w is 1 for about `full_warmth_fraction` of the samples and from U[0, 1] for the others; t is from `skewed_times`.
    """
    size, device = shape[0], draws.device
    warmth = torch.rand(size, generator=draws, device=device)
    full = torch.rand(size, generator=draws, device=device) < full_warmth_fraction
    x_0 = torch.randn(shape, generator=draws, device=device)
    t = skewed_times(torch.randn(size, generator=draws, device=device))
    return FlowDraws(x_0[share], t[share], torch.where(full, 1.0, warmth)[share])


def draw_for_rollout(
    shape: tuple[int, ...], members: int, time_steps: int, frames: int, draws: torch.Generator, share: slice
) -> tuple[Tensor, Tensor]:
    """Draw white noise for the forecasts of a whole batch, and return that of the samples in `share`.

    `shape` is that of the batch's fields. The results are the noise of each member and time step (sample, member, time
    step, variable, latitude, longitude), and noise for each of the `frames` of the start (sample, frame, variable, …).
    """
    noise = torch.randn((shape[0], members, time_steps, *shape[1:]), generator=draws, device=draws.device)
    frame_noise = torch.randn((shape[0], frames, *shape[1:]), generator=draws, device=draws.device)
    return noise[share], frame_noise[share]
