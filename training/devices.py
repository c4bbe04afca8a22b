"""The device of a training process, and how much of its memory is free."""

import os
from pathlib import Path

import torch

from storage.errors import ConfigurationError


def find_device(name: str) -> torch.device:
    """Return the device of this process; `auto` is CUDA if there is any, and the device of its number on this machine.

    Raises `ConfigurationError` if it does not exist.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    number, available = local, torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigurationError(f"`device` {name!r} is not available: PyTorch finds no CUDA device. Use cpu or auto.")
    if ":" in name:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigurationError(
                f"`device` must be auto, cpu or cuda with several processes, since each has its own. Got: {name!r}."
            )
        number = int(name.partition(":")[2])
    if number >= available:
        raise ConfigurationError(f"`device` cuda:{number} does not exist: PyTorch finds {available} CUDA devices.")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes; of a CPU, what new processes may use without swapping."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
