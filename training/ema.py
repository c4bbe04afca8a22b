"""The exponential moving average of a network's weights, updated at each optimiser step."""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """Hold a copy of a network with averaged weights: e ← d·e + (1−d)·w.

    d is `decay`; with `warmup` it is at most (1+n)/(10+n) in step n, so that the initial weights are forgotten. Nothing
    in an update waits for the device.
    """

    def __init__(self, net: nn.Module, decay: float, *, warmup: bool = True) -> None:
        self.net = copy.deepcopy(net).requires_grad_(requires_grad=False).eval()
        self._decay, self._warmup = decay, warmup
        self._averages: list[Tensor] = list(self.net.parameters())
        self._weights: list[Tensor] = list(net.parameters())
        self._share = torch.zeros((), device=self._weights[0].device)
        """1−d of the step."""

    def prepare(self, step: int) -> None:
        """Set d for the update after optimiser step `step` (from 0)."""
        self._share.fill_(1 - min(self._decay, (1 + step) / (10 + step) if self._warmup else 1.0))

    @torch.no_grad()
    def update(self) -> None:
        """Update the averaged weights."""
        changes = torch._foreach_sub(self._weights, self._averages)
        torch._foreach_mul_(changes, self._share)
        torch._foreach_add_(self._averages, changes)
