"""One network's optimisation: learning rate, clipped gradient, AdamW and averaged weights."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.shapes import Scalar
from training.ema import Ema
from training.optimiser_config import OptimiserConfig


def learning_rate(config: OptimiserConfig, step: int) -> float:
    """Return the learning rate of optimiser step `step`: a linear warm-up, then constant or half a cosine."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    blend = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * blend


class NetworkOptimiser:
    """Trains one network by AdamW; weights, moments and averages are float32, and no step waits for the device."""

    def __init__(self, net: nn.Module, config: OptimiserConfig) -> None:
        self.net, self.config = net.train().requires_grad_(requires_grad=True), config
        self.weights = [weight for weight in net.parameters() if weight.requires_grad]
        device = self.weights[0].device
        self.ema = Ema(net, config.ema_decay, warmup=config.ema_warmup)
        self._rate = torch.zeros((), device=device)
        self.adam = torch.optim.AdamW(
            self.weights,
            lr=self._rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
            capturable=device.type == "cuda",
        )

    def prepare(self, step: int) -> None:
        """Set what depends on the number of the step: the learning rate and the decay of the average."""
        self._rate.fill_(learning_rate(self.config, step))
        self.ema.prepare(step)

    def update(self, scaler: torch.amp.GradScaler) -> Scalar:
        """Change the weights by the accumulated gradient; return the norm of the gradient before it is clipped."""
        scaler.unscale_(self.adam)
        norm: Tensor = nn.utils.clip_grad_norm_(self.weights, self.config.clip_norm, foreach=True)
        scaler.step(self.adam)
        self.ema.update()
        return norm

    def clear_gradient(self) -> None:
        """Forget the gradient of the last step."""
        for weight in self.weights:
            weight.grad = None

    def state_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and tensor of weights, averaged weights and moments; the moments exist after the first step."""
        for name, weight in self.net.named_parameters():
            yield f"weights/{name}", weight.detach()
            yield f"average/{name}", self.ema.net.get_parameter(name)
            moments = self.adam.state.get(weight, {})
            for label, key in _MOMENTS.items():
                if key in moments:
                    yield f"{label}/{name}", moments[key]

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `state_tensors` returned."""
        for name, weight in self.net.named_parameters():
            weight.copy_(tensors[f"weights/{name}"])
            self.ema.net.get_parameter(name).copy_(tensors[f"average/{name}"])
            if f"first/{name}" in tensors:
                self.adam.state[weight] = {
                    "step": tensors[f"updates/{name}"].to(weight.device),
                    "exp_avg": torch.empty_like(weight).copy_(tensors[f"first/{name}"]),
                    "exp_avg_sq": torch.empty_like(weight).copy_(tensors[f"second/{name}"]),
                }


_MOMENTS = {"updates": "step", "first": "exp_avg", "second": "exp_avg_sq"}
