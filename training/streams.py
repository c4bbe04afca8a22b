"""Random streams of a training, each a pure function of (seed, purpose, step): nothing to save, nothing to restore."""

from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray


class Purpose(IntEnum):
    """What a stream is for; streams of different purposes never share a number."""

    ORDER = 0
    WARM_START = 1
    FLOW = 2
    VALIDATION = 3


def generator(seed: int, purpose: Purpose, step: int) -> torch.Generator:
    """Return torch's CPU generator for one step of one purpose."""
    words = np.random.SeedSequence([seed, purpose, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> 1))


def batch_indices(samples: NDArray[np.int64], batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Return the samples of optimiser step `step`: each epoch is a new permutation, its short rest left out."""
    per_epoch = max(len(samples) // batch_size, 1)
    epoch, place = divmod(step, per_epoch)
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, Purpose.ORDER, epoch])))
    return samples[order.permutation(len(samples))[place * batch_size : (place + 1) * batch_size]]
