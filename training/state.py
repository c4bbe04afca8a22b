"""The state of a training stage on disk, as safetensors: weights, averaged weights, moments of the optimiser."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from storage.atomic import replace_file
from training.ema import Ema


def save_state(path: Path, net: nn.Module, ema: Ema, optimiser: torch.optim.AdamW, step: int, seconds: float) -> None:
    """Write the state after `step` optimiser steps and `seconds` of training, replacing an older one atomically."""
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


def load_state(path: Path, net: nn.Module, ema: Ema, optimiser: torch.optim.AdamW) -> tuple[int, float]:
    """Restore the state that `save_state` wrote; return the number of steps done and the seconds spent on them."""
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
