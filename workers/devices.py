"""The device that a worker computes on."""

import re

import torch

from storage.errors import ConfigurationError


def find_device(name: str) -> torch.device:
    """Return a device by name, or the one to use for `auto`; raises `ConfigurationError` where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigurationError(f"`device` must be auto, cpu, cuda or cuda:N. Got: {name!r}.")
    if name != "cpu" and not torch.cuda.is_available():
        raise ConfigurationError(f"`device` {name!r} is not there: this PyTorch finds no CUDA device. Use cpu or auto.")
    return torch.device(name)
