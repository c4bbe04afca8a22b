"""The noise of a forecast: a pure function of seed, member and step, equal on every device and in every batch."""

from collections.abc import Sequence

import numpy as np
import torch

from models.shapes import Fields


def member_noise(seed: int, members: Sequence[int], step: int, shape: tuple[int, int, int]) -> Fields:
    """Return standard normal noise, float32 on the CPU, of shape (member, *`shape`).

    Each member's noise is drawn from its own stream of a counter-based generator, so it does not depend on which
    other members are drawn, or in which order. `step` counts lead times from 0.
    """
    noise = np.empty((len(members), *shape), np.float32)
    for row, member in enumerate(members):
        stream = np.random.Generator(np.random.Philox(key=[seed, 0], counter=[0, 0, member, step]))
        stream.standard_normal(dtype=np.float32, out=noise[row])
    return torch.from_numpy(noise)
