"""One optimiser step: gradients of all parts of a batch, updates of weights and averages, sums for the reports.

Nothing in a step waits for the device; `StepSums.read` does, at reports.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from models.execution import Execution
from models.shapes import Scalar
from training.losses import StepInputs
from training.optimisation import NetworkOptimiser
from training.processes import keep_gradients_local

_NONE = -1
"""Number of the first step that was not finite if all were."""


class StepSums:
    """Sums of losses and gradient norms over steps, and the first step that was not finite, all on the device."""

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self.names = names
        self.values = torch.zeros(len(names), dtype=torch.float64, device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.first_bad_step = torch.full((), _NONE, dtype=torch.int64, device=device)

    def add(self, values: Mapping[str, Scalar], *, is_finite: Tensor) -> None:
        """Add the values of one step, and note the step if they are not finite."""
        self.values += torch.stack([values[name].detach().double() for name in self.names])
        is_first = ~is_finite & (self.first_bad_step == _NONE)
        self.first_bad_step.copy_(torch.where(is_first, self.step, self.first_bad_step))

    def read(self, steps: int) -> dict[str, float]:
        """Wait for the device, and return the means over the last `steps` steps; the sums are then 0 again."""
        means = (self.values / steps).tolist()
        self.values.zero_()
        return dict(zip(self.names, means, strict=True))

    def read_first_bad_step(self) -> int:
        """Wait for the device, and return the first step that was not finite, or a negative number if all were."""
        return int(self.first_bad_step)


class OptimiserStep:
    """The optimiser step of a stage: `loss` of the inputs, in `parts`, and the optimisers of the networks by name.

    The gradient is that of the mean over all parts, the loss Σ weight · loss. With the precision float16 a step whose
    gradient overflows changes no weights and halves the scale of the loss.
    """

    def __init__(
        self,
        loss: nn.Module,
        optimisers: Mapping[str, NetworkOptimiser],
        loss_weights: Mapping[str, float],
        execution: Execution,
        *,
        parts: int = 1,
    ) -> None:
        device = next(iter(optimisers.values())).weights[0].device
        self.optimisers = optimisers
        self.scaler = torch.amp.GradScaler(device.type, enabled=execution.precision == "float16")
        self.sums = StepSums((*loss_weights, "grad_norm"), device)
        self._loss, self._loss_weights, self._parts = loss, loss_weights, parts
        self._autocast: Callable[[], AbstractContextManager[object]] = lambda: execution.autocast(device)

    def prepare(self, step: int) -> None:
        """Set what depends on the number of the step."""
        self.sums.step.fill_(step)
        for optimiser in self.optimisers.values():
            optimiser.prepare(step)

    def __call__(self, inputs: StepInputs) -> None:
        """Make the step that was prepared."""
        for optimiser in self.optimisers.values():
            optimiser.clear_gradient()
        losses = self._accumulate(inputs)
        norms = [optimiser.update(self.scaler) for optimiser in self.optimisers.values()]
        self.scaler.update()
        norm = torch.linalg.vector_norm(torch.stack(norms))
        is_finite = torch.isfinite(torch.stack([*losses.values()])).all()
        if self.scaler.is_enabled():
            norm = torch.nan_to_num(norm, nan=0.0, posinf=0.0)
        else:
            is_finite &= torch.isfinite(norm)
        self.sums.add({**losses, "grad_norm": norm}, is_finite=is_finite)

    def _accumulate(self, inputs: StepInputs) -> dict[str, Tensor]:
        """Add up the gradients of all parts, and return the losses of the whole batch."""
        losses: dict[str, Tensor] = {}
        for index, part in enumerate(inputs.parts(self._parts)):
            is_last = index == self._parts - 1
            with nullcontext() if is_last else keep_gradients_local(self._loss):
                with self._autocast():
                    values = {name: loss / self._parts for name, loss in self._loss(part).items()}
                total = torch.stack([self._loss_weights[name] * loss for name, loss in values.items()]).sum()
                torch.autograd.backward(self.scaler.scale(total))
            for name, loss in values.items():
                losses[name] = losses.get(name, torch.zeros_like(loss)) + loss.detach()
        return losses
