"""Random streams of a training, each a pure function of (seed, purpose, step), so none needs to be saved."""

from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray


class Purpose(IntEnum):
    """The purpose of a random stream; streams of different purposes are independent."""

    ORDER = 0
    WARM_START = 1
    FLOW = 2
    VALIDATION = 3


def generator(seed: int, purpose: Purpose, step: int) -> torch.Generator:
    """Return a CPU generator of torch for one step of one purpose."""
    words = np.random.SeedSequence([seed, purpose, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> 1))


def batch_indices(samples: NDArray[np.int64], batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Return the samples of optimiser step `step`.

    Each epoch is a new permutation of all samples; the last batch of an epoch is dropped if it is incomplete.
    """
    per_epoch = max(len(samples) // batch_size, 1)
    epoch, batch = divmod(step, per_epoch)
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, Purpose.ORDER, epoch])))
    return samples[order.permutation(len(samples))[batch * batch_size : (batch + 1) * batch_size]]
