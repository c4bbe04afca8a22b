"""The exponential moving average of a network's weights, updated at each optimiser step."""

import copy

import torch
from torch import nn


class Ema:
    """Hold a copy of a network with averaged weights: e ← d·e + (1−d)·w, with d = min(decay, (1+n)/(10+n)).

    d grows over the first steps n, so that the initial weights are forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).requires_grad_(requires_grad=False).eval()
        self._decay = decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Update the averaged weights e to d·e + (1−d)·w; w are those of `net` after optimiser step `step` (from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, weight in zip(self.net.parameters(), net.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
